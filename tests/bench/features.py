"""The interpreter of feature programs beside the fixed loop that it replaced.

``python -m tests.bench.features`` computes the 454 features of ``ieee-cis/1`` for the same batches
with both, in turn, in one process, and first checks that every bit agrees. The last line of
standard output is a JSON object with the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, concatenate, read_only
from schemas.contracts import AMOUNT, NUMBER_INDEX, TEXT_COLUMNS, TEXT_INDEX
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.interpreter.tables import (
    NumberTable,
    build_number_tables,
    build_text_tables,
)
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.columns import Kind, kind_of
from stream_scorer.features.operations.shares import PairShare, RatioToMean, Share
from stream_scorer.features.operations.texts import Code
from tests.bench import fixed_kernel
from trainer.data.source import SyntheticSource

TRAINING_ROWS: Final = 20_000
SEED: Final = 978

Features = Callable[[TransactionBatch], NDArray[np.float64]]


def fixed_features(features: FeatureSet) -> Features:
    """The fixed loop with the tables of a fitted ``ieee-cis/1``."""
    rows, tables = features.rows, list(_tables(features))
    codes = {c: t for o, table in tables if isinstance(o, Code) for c, t in _each(o, table)}
    shares = {c: t for o, table in tables if isinstance(o, Share) for c, t in _each(o, table)}
    text_shares = [column for column in shares if kind_of(column) is Kind.TEXT]
    single = [column for column in shares if kind_of(column) is Kind.NUMBER]
    pairs = [(o.columns, table) for o, table in tables if isinstance(o, PairShare)]
    ratios = [(o.columns[1], table) for o, table in tables if isinstance(o, RatioToMean)]

    def levels(column: str) -> dict[str, tuple[float, float]]:
        code = {level: float(i) for i, level in enumerate(codes[column])}
        share = shares.get(column, {"levels": [], "counts": []})
        counts = dict(zip(share["levels"], share["counts"], strict=True))
        known = dict.fromkeys((*code, *counts))
        return {v: (code.get(v, -1.0), counts.get(v, 0) / rows) for v in known}

    texts = build_text_tables([levels(column) for column in TEXT_COLUMNS])
    counts = build_number_tables(
        [
            *(_shares(shares[c]["values"], None, shares[c]["counts"], rows) for c in single),
            *(_shares(t["first"], t["second"], t["counts"], rows) for _, t in pairs),
        ]
    )
    means = build_number_tables(
        [_shares(t["values"], None, t["means"], 1)._replace(unknown=np.nan) for _, t in ratios]
    )
    keys = [(c, None) for c in single] + [columns for columns, _ in pairs]
    first = np.array([NUMBER_INDEX[a] for a, _ in keys], np.int64)
    second = np.array([-1 if b is None else NUMBER_INDEX[b] for _, b in keys], np.int64)
    mean_keys = np.array([NUMBER_INDEX[key] for key, _ in ratios], np.int64)
    emails = np.array([TEXT_INDEX["P_emaildomain"], TEXT_INDEX["R_emaildomain"]], np.int64)
    frequency_texts = np.array([TEXT_INDEX[c] for c in text_shares], np.int64)

    def transform(batch: TransactionBatch) -> NDArray[np.float64]:
        out = np.empty((len(batch), len(features.names)))
        fixed_kernel.build_features(
            batch.times,
            batch.numbers,
            read_only(batch.text),
            batch.starts,
            batch.lengths,
            texts,
            frequency_texts,
            counts,
            first,
            second,
            means,
            mean_keys,
            NUMBER_INDEX[AMOUNT],
            emails,
            out,
        )
        return out

    return transform


def _tables(features: FeatureSet) -> list[tuple[Operation, Any]]:
    return list(zip(features.program.operations, features.tables, strict=True))


def _each(operation: Operation, table: list[Any]) -> list[tuple[str, Any]]:
    return list(zip(operation.columns, table, strict=True))


def _shares(
    first: Sequence[float], second: Sequence[float] | None, values: Sequence[float], rows: int
) -> NumberTable:
    keys = np.array(first, np.float64).view(np.uint64)
    others = np.zeros_like(keys) if second is None else np.array(second, np.float64).view(np.uint64)
    return NumberTable(keys, others, np.array(values, np.float64) / rows, 0.0)


def measure(
    candidates: dict[str, Features], batches: Sequence[TransactionBatch], repeats: int
) -> dict[str, list[float]]:
    """Nanoseconds of this thread a row, once for each repeat, in alternating order."""
    rows = sum(map(len, batches))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(repeats):
        order = list(candidates) if repeat % 2 else list(reversed(candidates))
        for name in order:
            started = time.thread_time()
            for batch in batches:
                candidates[name](batch)
            found[name].append((time.thread_time() - started) / rows * 1e9)
    return found


def main() -> int:
    """Returns 1 if a bit differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.features", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="rows to transform")
    parser.add_argument("--batch", type=int, default=2_000, help="rows of a batch")
    parser.add_argument("--repeats", type=int, default=60)
    arguments = parser.parse_args()
    source = SyntheticSource(TRAINING_ROWS + arguments.rows, SEED)
    whole = concatenate([chunk.batch for chunk in source.chunks(lambda _: None)])
    features = FeatureSet.fit(whole.take(slice(0, TRAINING_ROWS)), load_builtin(IEEE_CIS))
    starts = range(TRAINING_ROWS, len(whole) - arguments.batch + 1, arguments.batch)
    batches = [whole.take(slice(start, start + arguments.batch)) for start in starts]
    candidates = {"fixed": fixed_features(features), "interpreter": features.transform}
    for batch in batches:
        fixed, interpreted = (transform(batch) for transform in candidates.values())
        if not np.array_equal(fixed.view(np.uint64), interpreted.view(np.uint64)):
            sys.stderr.write("the interpreter and the fixed loop disagree\n")
            return 1
    found = measure(candidates, batches, arguments.repeats)
    ratios = [f / i for f, i in zip(found["fixed"], found["interpreter"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    figures = {
        "batch_rows": arguments.batch,
        "fixed_ns_per_row": round(min(found["fixed"]), 1),
        "interpreter_ns_per_row": round(min(found["interpreter"]), 1),
        "speed_of_interpreter": round(middle, 3),
        "middle_half": [round(low, 3), round(high, 3)],
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
