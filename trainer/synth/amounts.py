"""Amounts: by product, similar within a client, repeated by thieves who test cards."""

from __future__ import annotations

from typing import Final

import numpy as np

from trainer.synth.sampling import Floats, look_up, to_uniform
from trainer.synth.scene import Scene
from trainer.synth.schedule import Rhythm
from trainer.synth.statistics import PRODUCTS

SMALLEST: Final = 0.251
LARGEST: Final = 31_937.391


def draw_amounts(scene: Scene) -> Floats:
    """``TransactionAmt`` of every row, three decimals."""
    rng, acts, product = scene.rng, scene.rows.acts, scene.product
    client_level = scene.per_client()
    is_subscription = scene.accounts.rhythm[scene.rows.client] == Rhythm.MONTHLY
    repeats = is_subscription | (acts & scene.chance(0.45))
    level = np.where(repeats, client_level, 0.8 * client_level + 0.6 * scene.noise())
    level += np.where(acts & (product != 1), 0.56, 0)
    uniform = to_uniform(level)
    amount = np.empty(len(scene))
    for p in range(len(PRODUCTS)):
        these = product == p
        amount[these] = look_up(scene.stats.amounts[p], uniform[these])
    is_large = scene.chance(0.004) & (product == 0)
    amount[is_large] *= rng.uniform(1.2, 6, int(is_large.sum()))
    return amount.clip(SMALLEST, LARGEST).round(3)
