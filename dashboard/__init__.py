"""The dashboard process: a live list of flagged transactions, and synchronous scoring over REST."""
