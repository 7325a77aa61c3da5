process kopano-monitor
