"""From the scores topic to rows and counts: read, kept in SQLite, shown on a board."""
