"""Test data of the ablation."""
