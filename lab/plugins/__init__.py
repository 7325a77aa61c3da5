"""Resource plug-ins for the Pulumi engine: the part of docker, tls and random that this project uses."""
