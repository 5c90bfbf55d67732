"""Baray: one AI data centre of an institution's own machines, from a folder of files to a counter that answers."""

__version__ = "0.1.0"
