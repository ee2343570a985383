"""The desk: who works on which flagged transaction, what was decided, and the log of all of it."""
