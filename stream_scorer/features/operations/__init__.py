"""The operations of feature programs: each computes a few features, and learns what it needs."""
