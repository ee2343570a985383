"""The one room that knows the Kafka driver."""
