"""Decode and features by how many columns the program reads.

``python -m tests.bench.columns`` measures three ways in turn, in one process: every column and the
features of ``ieee-cis/1``; a program of about 150 features on completely decoded batches; and the
same program on batches that keep only its columns. The last line of standard output is a JSON
object with microseconds a row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Final

import numpy as np

from schemas.batch import concatenate
from schemas.layout import Layout
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program, parse_program
from tests.bench.features import SEED, TRAINING_ROWS
from trainer.data.source import SyntheticSource

_PROVIDER_COLUMNS: Final = 85
_HEAD: Final = """
format = 1
name = "bench/1"
title = "About 150 features"

[[operation]]
op = "code"
version = 1
group = "texts"
min_count = 20
columns = ["ProductCD", "card4", "card6", "P_emaildomain", "R_emaildomain", "M1..M9", "DeviceInfo"]

[[operation]]
op = "share"
version = 1
group = "shares"
columns = ["card1", "addr1", "P_emaildomain"]

[[operation]]
op = "copy"
version = 1
group = "numbers"
"""


def small_program() -> Program:
    """Most of the columns that have names, and a quarter of the provider's."""
    rng = np.random.default_rng(1)
    provider = sorted(rng.choice(339, _PROVIDER_COLUMNS, replace=False) + 1)
    columns = ["TransactionAmt", "card1..card3", "card5", "addr1..dist1", "C1..C14", "D1..D15"]
    columns += [f"V{number}" for number in provider] + ["id_01", "id_02", "id_05", "id_06"]
    return parse_program(f"{_HEAD}columns = {json.dumps(columns)}\n", "bench")


def main() -> int:
    """Returns 1 if the features differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.columns", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="rows to decode")
    parser.add_argument("--batch", type=int, default=2_000, help="rows of a batch")
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    source = SyntheticSource(TRAINING_ROWS + arguments.rows, SEED)
    whole = concatenate([chunk.batch for chunk in source.chunks(lambda _: None)])
    train = whole.take(slice(0, TRAINING_ROWS))
    all_columns = FeatureSet.fit(train, load_builtin(IEEE_CIS))
    small = FeatureSet.fit(train, small_program())
    values = encode_transactions(whole.take(slice(TRAINING_ROWS, None)))
    size = arguments.batch
    batches = [values[i : i + size] for i in range(0, len(values) - size + 1, size)]
    ways: dict[str, tuple[FeatureSet, Layout | None]] = {
        "every_column": (all_columns, None),
        "program": (small, None),
        "program_and_its_columns": (small, small.layout),
    }
    decoder = TransactionDecoder(LocalSchemas())
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(arguments.repeats):
        for way, (features, layout) in ways.items():
            decode = transform = 0.0
            for batch in batches:
                began = time.thread_time()
                decoded = decoder.decode(batch, [None] * size, layout).batch
                middle = time.thread_time()
                features.transform(decoded)
                decode += middle - began
                transform += time.thread_time() - middle
            rows = size * len(batches) / 1e6
            found[way].append((decode / rows, transform / rows))
    figures = {
        way: {
            "decode": round(statistics.median(d for d, _ in times), 2),
            "features": round(statistics.median(f for _, f in times), 2),
            "both": round(statistics.median(d + f for d, f in times), 2),
        }
        for way, times in found.items()
    }
    assert small.layout is not None
    counts = {"features": len(small.names), "columns": len(small.layout.columns)}
    sys.stdout.write(json.dumps({"batch_rows": size, "program": counts, **figures}) + "\n")
    complete, narrow = (
        small.transform(decoder.decode(batches[0], [None] * size, layout).batch)
        for layout in (None, small.layout)
    )
    return int(not np.array_equal(complete.view(np.uint64), narrow.view(np.uint64)))


if __name__ == "__main__":
    sys.exit(main())
