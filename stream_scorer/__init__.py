"""The stream scorer, and the libraries it shares with trainer and dashboard."""
