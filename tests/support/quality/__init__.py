"""Scores, labels and results of live quality."""
