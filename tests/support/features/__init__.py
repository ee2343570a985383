"""Helpers for tests of feature programs."""
