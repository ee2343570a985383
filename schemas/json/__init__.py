"""JSON transactions: the compiled reader and the exact one behind it."""
