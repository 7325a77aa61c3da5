"""Configuration of the lab's mail server from the variables of docker-mailserver."""
