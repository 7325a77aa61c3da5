"""Copies of the mails that users moved into their junk folder or back, for a filter to learn from."""
