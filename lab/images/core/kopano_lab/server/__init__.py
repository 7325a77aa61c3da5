"""The lab's stand-in for kopano-server."""
