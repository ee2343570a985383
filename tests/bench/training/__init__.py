"""What the trainer promises, beside what comes of it."""
