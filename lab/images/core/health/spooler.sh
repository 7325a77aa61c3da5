process kopano-spooler
