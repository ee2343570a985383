"""Card history: features of earlier transactions of a card, as a pure function."""
