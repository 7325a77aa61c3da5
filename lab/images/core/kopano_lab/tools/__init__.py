"""The administrator's tools, run inside the server's container."""
