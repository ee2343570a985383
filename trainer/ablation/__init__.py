"""Ablation: what each group of features is worth, measured by leaving it out."""
