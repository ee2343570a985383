"""The commands that import, list and show labels."""
