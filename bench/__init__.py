"""Speed, measured: this program against Docker Compose. `make bench`."""
