"""The proof that every input has exactly one outcome."""
