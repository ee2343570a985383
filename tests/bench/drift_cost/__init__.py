"""What counting features for drift costs."""
