"""Settings, logs, and clients of the outside world."""
