"""The lab's stand-in for kopano-search: a full-text index of all mailboxes."""
