"""Dead letters: their format, reading them, and sending them back to the input."""
