"""Explanations of scores: raw scores, what is usual, sentences, and what would have to differ."""
