"""Training: from data to a published and promoted bundle."""
