"""Kafka for the tests: which broker, ACLs, certificates, and clients that die."""
