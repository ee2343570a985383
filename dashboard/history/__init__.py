"""Card history for ``/predict``: loaded from snapshots, and advanced with the stream."""
