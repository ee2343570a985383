"""Code that users would write by hand, for comparison: one record at a time.

``LeanPlan`` is plain data, so that it can be pickled for a peer in another environment.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
import pandas as pd

from schemas.contracts import AMOUNT, NUMBER_COLUMNS, TEXT_COLUMNS, TIME, load_schema
from schemas.transactions.codec import plain_types
from stream_scorer.features.definition import (
    AMOUNT_BY,
    FREQUENCY_NUMBERS,
    FREQUENCY_PAIRS,
    FREQUENCY_TEXTS,
)
from stream_scorer.features.feature_set import FeatureSet

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
    state = features.state()
    rows = state["rows"]
    codes = {}
    shares: dict[str, dict[Any, float]] = {}
    for name, levels in state["levels"].items():
        kept = [level for level, seen in levels.items() if seen >= state["min_count"]]
        codes[name] = {level: float(i) for i, level in enumerate(kept)}
        if name in FREQUENCY_TEXTS:
            shares[name] = {level: seen / rows for level, seen in levels.items()}
    for name in FREQUENCY_NUMBERS:
        values, _, seen = state["counts"][name]
        shares[name] = dict(zip(values, (n / rows for n in seen), strict=True))
    for a, b in FREQUENCY_PAIRS:
        first, second, seen = state["counts"][f"{a}|{b}"]
        keys = zip(first, second, strict=True)
        shares[f"{a}|{b}"] = dict(zip(keys, (n / rows for n in seen), strict=True))
    means = {name: dict(zip(*state["means"][name], strict=True)) for name in AMOUNT_BY}
    schema = plain_types(load_schema("transaction"))
    return LeanPlan(
        schema, tuple(NUMBER_COLUMNS), tuple(TEXT_COLUMNS), codes, shares,
        tuple(FREQUENCY_PAIRS), means,
    )  # fmt: skip


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
