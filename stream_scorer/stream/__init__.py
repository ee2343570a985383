"""Poll, score and commit: each input exactly one outcome."""
