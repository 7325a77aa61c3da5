"""The OpenID provider of the Kopano lab: a stand-in for Konnect, for tests and closed networks."""

BANNER = "This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano Konnect."
