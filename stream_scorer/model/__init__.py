"""Bundles, scoring, the artifact store, reload."""
