"""Synthetic transactions in the shape of the IEEE-CIS tables.

They exercise the whole system and give a model something honest to learn; they say nothing
about how good a model is on real transactions.
"""

from trainer.synth.generate import Synthetic, generate

__all__ = ["Synthetic", "generate"]
