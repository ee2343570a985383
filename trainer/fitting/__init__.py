"""Fitting: the training plan, and LightGBM."""
