"""What `make` runs: sets up a machine and drives Pulumi. One module a verb, `python -m tools.VERB`."""
