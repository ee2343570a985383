"""Arithmetic of distributions: reference histograms and how far live scores are from them."""
