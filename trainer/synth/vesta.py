"""V1 to V339: correlated in clusters; some are sums of an account's spending."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from trainer.synth.columns import from_table
from trainer.synth.sampling import Floats, blank, to_uniform
from trainer.synth.scene import CLIENT_NOISE, FACTORS, ROW_NOISE, Scene

COLUMNS: Final = 339
LOADING_SEED: Final = 12_345
"""The columns' loadings do not depend on the seed of the rows."""

LABEL_GAIN: Final = 3.5
"""Converts a published correlation with the label to a loading on the signs of risk."""

CLUSTER_WEIGHT: Final = 0.55


def vesta_columns(scene: Scene, amount: Floats) -> Iterator[tuple[str, Floats]]:
    """All V columns, in order."""
    stats = scene.stats
    unit_of = {name: group for group, names in stats.groups.items() for name in names}
    sums = scene.history.sums(amount)
    clusters = _cluster_levels(scene)
    velocity = scene.history.velocity
    character = np.random.default_rng(LOADING_SEED)
    for j in range(1, COLUMNS + 1):
        name, w = f"V{j}", character.random(6)
        loading = 0.06 + 0.40 * w[0] ** 2
        if name in stats.label_correlation:
            loading = LABEL_GAIN * stats.label_correlation[name]
        weights = (0.12 + 0.3 * w[1], 0.15 + 0.35 * w[2], loading * 0.62)
        z = CLUSTER_WEIGHT * clusters[stats.clusters[name]]
        z += weights[0] * velocity + weights[1] * scene.entity
        z += weights[2] * scene.factor(int(w[3] * FACTORS))
        z += 0.3 * scene.noise()
        value = from_table(scene, name, to_uniform(z, _deviation(*weights)))
        if name in stats.money:
            value = _money(value, sums[int(w[4] * 3)], share=0.4 + 0.6 * (w[5] > 0.5))
        yield name, blank(value, scene.missing[unit_of[name]])


def _cluster_levels(scene: Scene) -> dict[int, Floats]:
    """The common component of each cluster's columns: part per client, part per row."""
    return {
        cluster: 0.7 * scene.per_client() + 0.7 * scene.noise()
        for cluster in range(scene.stats.cluster_count)
    }


def _deviation(velocity: float, entity: float, risk: float) -> float:
    noise = ROW_NOISE**2 + CLIENT_NOISE**2
    variance = CLUSTER_WEIGHT**2 * 0.98 + velocity**2 + entity**2 + risk**2 * noise + 0.09
    return float(np.sqrt(variance))


def _money(value: Floats, total: Floats, share: float) -> Floats:
    """A share of what the account has spent before, where the column is not zero."""
    in_use = value > 0
    return np.where(in_use & (total > 0), np.round(total * share, 4), np.where(in_use, value, 0))
