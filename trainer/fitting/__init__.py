"""Fitting: the plan, and LightGBM."""
