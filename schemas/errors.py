"""What can be wrong with a file of transactions."""

from __future__ import annotations


class UnusableFileError(Exception):
    """A user's file cannot be used; the message names file, line and column, and the fault."""
