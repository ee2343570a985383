"""JSON transactions: the compiled reader, and the complete reader behind it."""
