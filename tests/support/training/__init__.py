"""Helpers for tests of the trainer."""
