"""Shared by tests of drift: bundles with reference histograms, and rows that follow them or not."""
