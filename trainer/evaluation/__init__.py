"""Evaluation: measures, thresholds, the gate and the reference histograms."""
