"""Fraud scores: writing them, and reading many at once."""
