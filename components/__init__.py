"""The program: one module a block of the architecture."""
