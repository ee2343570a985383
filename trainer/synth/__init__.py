"""Synthetic transactions in the shape of the IEEE-CIS tables.

They exercise the whole system and contain real structure for a model to learn. They say nothing
about a model's quality on real transactions.
"""

from trainer.synth.generate import Synthetic, generate

__all__ = ["Synthetic", "generate"]
