"""MLflow servers: a real one, and those that do not work."""
