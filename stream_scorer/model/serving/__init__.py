"""Keeping the promoted version loaded: polling, loading, caching, guarding, rolling back."""
