"""The model bundle: loading it safely, and scoring with it."""
