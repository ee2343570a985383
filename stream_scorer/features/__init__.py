"""The feature code that the trainer and the scorer share."""
