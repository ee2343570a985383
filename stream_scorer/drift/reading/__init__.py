"""Compares a range of the input topic, and its scores, with the reference of a model version."""
