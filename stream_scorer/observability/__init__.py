"""Metrics, probes and stall detection of the scorer process."""
