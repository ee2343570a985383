"""The one feature code."""
