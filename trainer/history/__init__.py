"""Card history in training: one pass over all rows, and what is published of it."""
