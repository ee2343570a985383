"""Benchmarks. They are commands to run, not tests with time limits."""
