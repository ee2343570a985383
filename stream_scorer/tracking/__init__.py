"""MLflow as several processes use it: what identifies a version, and the champion's alias."""
