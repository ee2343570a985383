"""Skew: the card history of a file compared with that of the input topic."""
