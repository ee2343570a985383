"""The layout of the code: rooms, imports between them, sizes. Run ``python -m tests.house``."""
