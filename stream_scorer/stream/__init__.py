"""Poll, score and commit: exactly one outcome for each input record."""
