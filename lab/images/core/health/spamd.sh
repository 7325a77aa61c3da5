process kopano-spamd
