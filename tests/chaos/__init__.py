"""Faults on purpose, on real Kafka and real processes, and the proof that nothing was lost."""
