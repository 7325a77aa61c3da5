"""The lab's stand-in for kopano-monitor: tells users whose mailbox is full."""
