"""Scores are computed again from their inputs, and compared bit for bit with what was published."""
