"""Brokers in memory for the operations page."""
