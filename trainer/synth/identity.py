"""The identity table: device, browser, flags and numbers, for the rows that have an identity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.synth.marks import FIRST_ID
from trainer.synth.sampling import Ints, blank, draw_index, look_up, to_uniform
from trainer.synth.scene import Scene
from trainer.synth.statistics import Combinations

PROXY_NUMBERS: Final = ("id_07", "id_08", "id_21", "id_25", "id_26")
"""Present only for the few rows behind a known proxy (``id_23``)."""

FLAG_NUMBERS: Final = ("id_13", "id_14", "id_17", "id_18", "id_22", "id_24")


def identity_columns(scene: Scene) -> Iterator[tuple[str, NDArray[Any]]]:
    """All 41 columns of the identity table, in no particular order."""
    rows = np.flatnonzero(scene.has_identity)
    yield "TransactionID", FIRST_ID + rows
    yield from _joint(scene.stats.device, _devices(scene, rows))
    flags = scene.stats.flags
    drawn = _flags(scene, rows)
    yield from _joint(flags, drawn)
    behind_proxy = np.array([v is not None for v in flags.column("id_23")])[drawn]
    yield from _numbers(scene, rows, behind_proxy)


def _joint(source: Combinations, drawn: Ints) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in source.columns:
        values = source.column(name)[drawn]
        yield name, values.astype(float) if name in {*FLAG_NUMBERS, "id_32"} else values


def _per_client(scene: Scene, honest: Any, loud: Any) -> Ints:
    m = len(scene.clients)
    drawn = draw_index(scene.rng, honest, m)
    return np.where(scene.clients.is_loud, draw_index(scene.rng, loud, m), drawn)


def _devices(scene: Scene, rows: Ints) -> Ints:
    """A client mostly keeps its device; a thief often uses another, more often a mobile one."""
    source, rng = scene.stats.device, scene.rng
    is_mobile = source.column("DeviceType") == "mobile"
    usual = _per_client(scene, source.weights, source.weights * np.where(is_mobile, 1.45, 0.9))
    second = draw_index(rng, source.weights * np.where(is_mobile, 1.3, 0.95), len(scene.clients))
    k, client = len(rows), scene.rows.client[rows]
    changed = (scene.rows.acts[rows] & (rng.random(k) < 0.3)) | (rng.random(k) < 0.06)
    return np.where(changed, second[client], usual[client])


def _flags(scene: Scene, rows: Ints) -> Ints:
    source, rng, k = scene.stats.flags, scene.rng, len(rows)
    is_new = source.column("id_15") == "New"
    usual = _per_client(scene, source.weights, source.weights * np.where(is_new, 1.5, 0.8))
    fresh = draw_index(rng, source.weights, k)
    return np.where(rng.random(k) < 0.7, usual[scene.rows.client[rows]], fresh)


def _numbers(
    scene: Scene, rows: Ints, behind_proxy: NDArray[np.bool_]
) -> Iterator[tuple[str, NDArray[Any]]]:
    rng, k = scene.rng, len(rows)
    for j, (name, (missing, table)) in enumerate(scene.stats.identity_numbers.items()):
        if name in PROXY_NUMBERS:
            yield name, blank(look_up(table, rng.random(k)), ~behind_proxy)
            continue
        sign = -1 if name == "id_01" else 1
        z = 0.75 * scene.per_client()[rows] + 0.22 * sign * scene.factor(j)[rows]
        z += 0.6 * rng.normal(0, 1, k)
        yield name, blank(look_up(table, to_uniform(z)), rng.random(k) < missing)
