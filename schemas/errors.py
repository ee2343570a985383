"""Errors in files of transactions."""

from __future__ import annotations


class UnusableFileError(Exception):
    """A user's file cannot be used; the message gives file, line, column and the fault."""
