"""Helpers that read manifests, rules and Grafana boards."""
