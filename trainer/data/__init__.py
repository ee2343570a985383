"""Training data: sources, ingest and the split in time."""
