"""Publishing: bundles, versions in the store, experiment tracking and metrics."""
