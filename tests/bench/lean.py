"""Code that users would write by hand, for comparison: one record at a time.

``LeanPlan`` is plain data, so that it can be pickled for a peer in another environment.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
import pandas as pd

from schemas.contracts import AMOUNT, NUMBER_COLUMNS, TEXT_COLUMNS, TIME, load_schema
from schemas.transactions.codec import plain_types
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.operations.shares import PairShare, RatioToMean, Share
from stream_scorer.features.operations.texts import Code

FREQUENCY_NUMBERS = ("card1", "card2", "card3", "card5", "addr1", "addr2")
FREQUENCY_TEXTS = (
    "P_emaildomain", "R_emaildomain", "DeviceInfo", "id_30", "id_31", "id_33",
)  # fmt: skip
FREQUENCY_PAIRS = (("card1", "addr1"), ("card1", "card5"), ("card2", "addr1"))
"""The columns whose shares are features of the program ``ieee-cis/1``, in its order."""

_FRAME_BYTES = 10  # single-object encoding


@dataclass(frozen=True)
class LeanPlan:
    """Vocabularies and shares as dictionaries."""

    schema: Any
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    codes: dict[str, dict[str, float]]
    shares: dict[str, dict[Any, float]]
    pairs: tuple[tuple[str, str], ...]
    means: dict[str, dict[float, float]]


def make_plan(features: FeatureSet) -> LeanPlan:
    """The fitted state in the form that a hand-written loop would use."""
    rows = features.rows
    codes: dict[str, dict[str, float]] = {}
    shares: dict[str, dict[Any, float]] = {}
    means: dict[str, dict[float, float]] = {}
    for operation, table in zip(features.program.operations, features.tables, strict=True):
        if isinstance(operation, Code):
            for name, levels in zip(operation.columns, table, strict=True):
                codes[name] = {level: float(i) for i, level in enumerate(levels)}
        elif isinstance(operation, Share):
            for name, part in zip(operation.columns, table, strict=True):
                keys = part.get("levels") or part.get("values")
                shares[name] = _divided(keys or [], part["counts"], rows)
        elif isinstance(operation, PairShare):
            pairs = zip(table["first"], table["second"], strict=True)
            shares["|".join(operation.columns)] = _divided(list(pairs), table["counts"], rows)
        elif isinstance(operation, RatioToMean):
            means[operation.columns[1]] = dict(zip(table["values"], table["means"], strict=True))
    schema = plain_types(load_schema("transaction"))
    return LeanPlan(
        schema, tuple(NUMBER_COLUMNS), tuple(TEXT_COLUMNS), codes, shares,
        tuple(FREQUENCY_PAIRS), means,
    )  # fmt: skip


def _divided(keys: Sequence[Any], counts: Sequence[int], rows: int) -> dict[Any, float]:
    return dict(zip(keys, (n / rows for n in counts), strict=True))


def lean_row(plan: LeanPlan, record: dict[str, Any]) -> np.ndarray[Any, Any]:
    """One record's features, computed as a careful engineer would in a loop."""
    nan = float("nan")
    row = [nan if (v := record[c]) is None else v for c in plan.numbers]
    row += [nan if (v := record[c]) is None else plan.codes[c].get(v, -1.0) for c in plan.texts]
    for name in (*FREQUENCY_NUMBERS, *FREQUENCY_TEXTS):
        row.append(nan if (v := record[name]) is None else plan.shares[name].get(v, 0.0))
    for a, b in plan.pairs:
        x, y = record[a], record[b]
        known = x is not None and y is not None
        row.append(plan.shares[f"{a}|{b}"].get((x, y), 0.0) if known else nan)
    amount, seconds = record[AMOUNT], record[TIME]
    for name, means in plan.means.items():
        mean = means.get(record[name])
        row.append(amount / mean if mean else nan)
    cents = float(np.floor(amount * 100 + 0.5))
    row.append(cents - np.floor(amount) * 100)
    row.append(1.0 if abs(amount * 100 - cents) > 1e-4 else 0.0)
    row += [seconds // 3600 % 24, seconds // 86400 % 7]
    purchaser, recipient = record["P_emaildomain"], record["R_emaildomain"]
    both = purchaser is not None and recipient is not None
    row.append(float(purchaser == recipient) if both else nan)
    row.append(sum(record[c] is None for c in (*plan.numbers, *plan.texts)))
    return np.array([row], np.float64)


def usual_row(plan: LeanPlan, record: dict[str, Any]) -> pd.DataFrame:
    """The same features with one-row DataFrames, as in notebooks."""
    frame = pd.DataFrame([record])
    out = frame[list(plan.numbers)].astype(float)
    for name in plan.texts:
        out[name] = frame[name].map(plan.codes[name]).astype(float)
    for name in (*FREQUENCY_NUMBERS, *FREQUENCY_TEXTS):
        out[f"{name}_frequency"] = frame[name].map(plan.shares[name]).astype(float)
    for a, b in plan.pairs:
        keys = pd.Series(list(zip(frame[a], frame[b], strict=True)))
        out[f"{a}_{b}_frequency"] = keys.map(plan.shares[f"{a}|{b}"]).astype(float)
    for name, means in plan.means.items():
        out[f"{AMOUNT}_to_{name}_mean"] = frame[AMOUNT] / frame[name].map(means)
    cents = np.floor(frame[AMOUNT] * 100 + 0.5)
    out["amount_cents"] = cents - np.floor(frame[AMOUNT]) * 100
    out["amount_has_fraction_of_cent"] = ((frame[AMOUNT] * 100 - cents).abs() > 1e-4).astype(float)
    out["hour"] = (frame[TIME] // 3600 % 24).astype(float)
    out["weekday"] = (frame[TIME] // 86400 % 7).astype(float)
    out["email_domains_equal"] = (frame["P_emaildomain"] == frame["R_emaildomain"]).astype(float)
    out["missing_count"] = frame[[*plan.numbers, *plan.texts]].isna().sum(axis=1).astype(float)
    return out


def decode(schema: Any, value: bytes) -> dict[str, Any]:
    """Decode one record with fastavro."""
    record: dict[str, Any] = fastavro.schemaless_reader(
        io.BytesIO(value[_FRAME_BYTES:]), schema, None
    )
    return record
