"""Publishing: the bundle, the store of versions, tracking and metrics."""
