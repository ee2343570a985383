"""Fraud scores: writing them, and reading many of them at once."""
