"""The lab's stand-in for kopano-dagent: LMTP into the users' mailboxes."""
