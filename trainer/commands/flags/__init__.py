"""Flags that several commands share, and what is read from them."""
