"""Kafka for the tests: which one, with rights and certificates, and clients that fail."""
