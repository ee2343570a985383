"""How the code is laid out: rooms, the arrows between them, sizes. ``python -m tests.house``."""
