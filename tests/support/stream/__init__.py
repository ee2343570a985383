"""Histories for tests of the loop."""
