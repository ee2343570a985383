"""What the live model is worth: estimates from labels, each with an interval."""
