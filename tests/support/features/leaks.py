"""Three checks that an operation's training features leak nothing from the row or from later rows.

Each takes operations, so that a test can show that it finds one that leaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.missing import MissingPattern
from stream_scorer.features.operations.texts import Code, TextPart
from stream_scorer.features.program import Program


def program_of(operations: Sequence[Operation]) -> Program:
    """A program of these operations."""
    return Program("leaks/1", "", tuple(operations))


def stationary_rows(n: int, seed: int) -> TransactionBatch:
    """Independent rows from one distribution, with long tails of rare values.

    Whatever differs between the training rows and the next ones is then the fitting's doing.
    """
    rng = np.random.default_rng(seed)

    def rare(most: int) -> NDArray[np.int64]:
        """Half of the rows have one of a few values, the others one of ``most``."""
        return np.where(rng.random(n) < 0.5, rng.integers(1, 5, n), rng.integers(5, most, n))

    columns: dict[str, Any] = {
        "TransactionAmt": np.round(rng.gamma(2.0, 60.0, n) + 0.5, 2),
        "card1": rare(4000).astype(float),
        "addr1": rare(40).astype(float),
        "V258": rare(30).astype(float),
        "P_emaildomain": [f"provider{k}.{'com' if k % 3 else 'org'}" for k in rare(2000)],
        "R_emaildomain": [f"provider{k}.com" for k in rare(60)],
        "DeviceInfo": [f"maker{k} model{k}" for k in rare(2000)],
        "id_31": [f"browser {k}.0" for k in rare(60)],
        "card4": [("visa", "mastercard", "discover")[k % 3] for k in rare(6)],
    }
    holes = {name: rng.random(n) < 0.2 for name in ("addr1", "V258", "R_emaildomain", "DeviceInfo")}
    rows = []
    for i in range(n):
        row = {name: values[i] for name, values in columns.items()}
        row |= {name: None for name, missing in holes.items() if missing[i]}
        rows.append({**row, "TransactionID": i, "TransactionDT": 86_400 + 300 * i})
    return build_batch(rows)


def seeing_later_rows(program: Program, batch: TransactionBatch) -> list[str]:
    """Features of training rows that change when later rows are left out."""
    _, whole = FeatureSet.fit_transform(batch, program)
    found: set[str] = set()
    for rows in (1, len(batch) // 3, len(batch) - 1):
        _, first = FeatureSet.fit_transform(batch.take(slice(0, rows)), program)
        found |= _differing(program, first, whole[:rows])
    return sorted(found)


def unlike_serving(program: Program, batch: TransactionBatch) -> list[str]:
    """Features of training rows that differ from what earlier rows alone would have served."""
    _, whole = FeatureSet.fit_transform(batch, program)
    found: set[str] = set()
    for row in (0, 1, 2, 5, len(batch) // 2, len(batch) - 1):
        features = FeatureSet.fit(batch.take(slice(0, row)), program)
        served = features.transform(batch.take(slice(row, row + 1)))
        found |= _differing(program, served, whole[row : row + 1])
    return sorted(found)


def shifts(program: Program, batch: TransactionBatch, train: int) -> dict[str, float]:
    """How far each feature's distribution on training rows is from that on the next, served rows.

    The training rows are the first ``train``, of which the last quarter is compared. The distance
    is the largest of the differences in the share of missing values, of zeros and of "other", and
    in the values (Wasserstein distance, in standard deviations); a code has no values to compare.
    """
    features, matrix = FeatureSet.fit_transform(batch.take(slice(0, train)), program)
    served = features.transform(batch.take(slice(train, None)))
    is_code = [
        isinstance(operation, Code | TextPart | MissingPattern)
        for operation in program.operations
        for _ in operation.names
    ]
    columns = zip(program.names, matrix[train * 3 // 4 :].T, served.T, is_code, strict=True)
    return {name: _distance(a, b, coded) for name, a, b, coded in columns}


def _differing(program: Program, a: NDArray[np.float64], b: NDArray[np.float64]) -> set[str]:
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    pairs = zip(program.names, same.all(axis=0).tolist(), strict=True)
    return {name for name, is_same in pairs if not is_same}


def _distance(a: NDArray[np.float64], b: NDArray[np.float64], is_code: bool) -> float:
    shares = [
        abs(float(np.mean(test(a)) - np.mean(test(b))))
        for test in (np.isnan, lambda v: v == 0.0, lambda v: v == -1.0)
    ]
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not is_code and len(a) and len(b) and (spread := float(b.std())) > 0:
        at = np.linspace(0.0, 1.0, 201)[1:-1]
        gap = np.abs(np.quantile(a, at) - np.quantile(b, at)).mean()
        shares.append(float(gap) / spread)
    return max(shares)
