"""Counts rejected records, and stops the scorer when there are too many."""
