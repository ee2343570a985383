"""The desk for tests: its topics in memory."""
