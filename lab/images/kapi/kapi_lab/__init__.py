"""The REST services of the Kopano lab: stand-ins for kapi and grapi, for tests and closed networks."""

BANNER = "This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano."
