"""Manifests, rules and boards as the tests read them."""
