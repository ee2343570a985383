"""Fault injection on real Kafka and real processes, and the proof that no record was lost."""
