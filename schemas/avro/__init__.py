"""Avro: decode plans, the compiled reader and the writer."""
