"""Tuning: the search for parameters, and average precision against the time of scoring."""
