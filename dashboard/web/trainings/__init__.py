"""HTTP routes that start trainings and show them, and the webhook of Alertmanager."""
