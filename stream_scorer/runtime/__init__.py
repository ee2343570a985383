"""Settings, logs, and clients of external services."""
