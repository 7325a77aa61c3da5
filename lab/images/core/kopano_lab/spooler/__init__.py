"""The lab's stand-in for kopano-spooler: from the users' Outbox to the mail server."""
