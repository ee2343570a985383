"""Flags, scores and filters that are made up, to compare what reads them."""
