"""Speed and memory of what is computed from the scores of live models."""
