"""Trainings for tests: a runner in memory, and an API server."""
