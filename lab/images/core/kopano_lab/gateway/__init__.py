"""The lab's stand-in for kopano-gateway: IMAP4rev1 and POP3 on the server's mailboxes."""
