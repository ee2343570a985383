"""The tree ensemble: its layout in memory and the compiled predictor."""
