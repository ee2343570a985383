"""Training data: sources, ingest and the split by time."""
