"""The lab's stand-in for kopano-ical: CalDAV, by Radicale."""
