"""The core services of the Kopano lab: stand-ins for tests and closed networks, not Kopano."""

VERSION = "11.0.2-lab"
BANNER = "This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano."
