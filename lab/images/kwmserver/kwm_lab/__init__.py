"""The meeting server of the Kopano lab: a stand-in for kwmserver, for tests and closed networks."""

BANNER = "This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano."
