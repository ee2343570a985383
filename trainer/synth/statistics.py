"""The published aggregates that the generator follows: levels, rates, quantiles and patterns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

QUANTILES: Final = 256
"""Steps of every quantile table."""

PRODUCTS: Final = np.array(list("WCRHS"), dtype=object)
"""Product codes, in the order of every per-product table."""

FIRST_SECOND: Final = 86_400
LAST_SECOND: Final = 15_811_131
"""``TransactionDT`` runs from the first to the last second of a window of 183 days."""

WINDOW_DAYS: Final = 183


@dataclass(frozen=True, slots=True)
class Levels:
    """The values of a categorical column and their frequencies."""

    values: NDArray[Any]
    weights: NDArray[np.float64]

    def without(self, value: float) -> Levels:
        """The same levels without one value."""
        kept = self.values != value
        return Levels(self.values[kept], self.weights[kept])


@dataclass(frozen=True, slots=True)
class Combinations:
    """Several columns that are drawn together, row by row of ``values``."""

    columns: tuple[str, ...]
    values: NDArray[np.object_]
    weights: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.object_]:
        """The values of one column over all combinations."""
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Everything the generator knows about the real tables; only aggregates.

    Attributes:
        product_share: share of transactions by product.
        product_fraud: fraud rate by product.
        emails: e-mail domains by product.
        amounts: quantile table of the amount, ``[products, QUANTILES]``.
        hours: transactions by hour of the day; ``fraud_hours`` counts only the fraudulent ones.
        levels: card and address columns.
        missing_units: columns and column groups that are missing together, and the joint
            ``missing_patterns`` (bool ``[p, units]``) with product, identity flag and weight.
        quantiles: per column a table ``[3, QUANTILES]``: product W, product C, the others.
        groups: the V columns by the group they are missing with.
        clusters: the V columns by the cluster they correlate with.
        label_correlation: published correlation of some V columns with the label.
        money: V columns that hold sums of money.
        device, flags: identity columns that are drawn together.
        identity_numbers: missing share and quantile table of the other identity columns.
    """

    product_share: NDArray[np.float64]
    product_fraud: NDArray[np.float64]
    emails: tuple[Levels, ...]
    amounts: NDArray[np.float64]
    hours: NDArray[np.float64]
    fraud_hours: NDArray[np.float64]
    levels: dict[str, Levels]
    missing_units: tuple[str, ...]
    missing_patterns: NDArray[np.bool_]
    pattern_product: NDArray[np.int64]
    pattern_has_identity: NDArray[np.bool_]
    pattern_weight: NDArray[np.float64]
    quantiles: dict[str, NDArray[np.float64]]
    groups: dict[str, tuple[str, ...]]
    clusters: dict[str, int]
    cluster_count: int
    label_correlation: dict[str, float]
    money: frozenset[str]
    device: Combinations
    flags: Combinations
    identity_numbers: dict[str, tuple[float, NDArray[np.float64]]]


@cache
def load_statistics() -> Statistics:
    """The aggregates that ship with the package."""
    raw = json.loads((files("trainer.synth") / "stats.json").read_text(encoding="utf-8"))
    products, missing, vesta, identity = (
        raw[name] for name in ("products", "missing", "vesta", "identity")
    )
    counts = np.array(products["transactions"], float)
    product, has_identity, bits, weight = zip(*missing["patterns"], strict=True)
    return Statistics(
        product_share=counts / counts.sum(),
        product_fraud=np.array(products["fraud_rate"]),
        emails=tuple(
            Levels(np.array(list(shares), dtype=object), np.array(list(shares.values()), float))
            for shares in products["emails"]
        ),
        amounts=np.stack([_expand(runs) for runs in products["amounts"]]),
        hours=np.array(raw["transactions_by_hour"], float),
        fraud_hours=np.array(raw["frauds_by_hour"], float),
        levels={
            name: Levels(np.array(values, float), np.array(weights, float))
            for name, (values, weights) in raw["levels"].items()
        },
        missing_units=tuple(missing["units"]),
        missing_patterns=np.array([[bit == "1" for bit in row] for row in bits]),
        pattern_product=np.array(product),
        pattern_has_identity=np.array(has_identity, bool),
        pattern_weight=np.array(weight, float),
        quantiles={
            name: np.stack([_expand(runs) for runs in tables])
            for name, tables in raw["quantiles"].items()
        },
        groups={name: tuple(columns) for name, columns in vesta["groups"].items()},
        clusters=vesta["clusters"],
        cluster_count=vesta["cluster_count"],
        label_correlation=vesta["label_correlation"],
        money=frozenset(vesta["money"]),
        device=_combinations(identity["device"]),
        flags=_combinations(identity["flags"]),
        identity_numbers={
            name: (entry["missing"], _expand(entry["quantiles"]))
            for name, entry in identity["numbers"].items()
        },
    )


def _expand(runs: tuple[list[float], list[int]]) -> NDArray[np.float64]:
    """A quantile table from its run lengths."""
    values, counts = runs
    return np.repeat(np.array(values, float), counts)


def _combinations(raw: dict[str, Any]) -> Combinations:
    levels, rows = raw["levels"], raw["rows"]
    values = np.array(
        [[levels[j][code] for j, code in enumerate(row)] for row in rows], dtype=object
    )
    return Combinations(tuple(raw["columns"]), values, np.array(raw["counts"], float))
