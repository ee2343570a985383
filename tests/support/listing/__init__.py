"""Flags and filters to compare what filters them."""
