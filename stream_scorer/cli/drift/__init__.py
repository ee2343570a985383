"""The command that compares live features and scores with a model's reference."""
