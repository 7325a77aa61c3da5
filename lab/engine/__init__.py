"""The Pulumi CLI and its Python language host, built from their Go modules."""
