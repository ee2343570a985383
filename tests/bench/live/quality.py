"""Speed and memory of ``stream-scorer quality``: ``python -m tests.bench.live.quality``.

The scores are bytes in memory, made batch by batch: neither Kafka nor the making is part of the
times. 2 % are flagged, and have a context and reasons as real ones do.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.records import encode_record
from schemas.resolver import LocalSchemas
from stream_scorer.cli.console import say, say_json
from stream_scorer.cli.parsing.arguments import positive
from stream_scorer.quality.reader import QualityReader
from stream_scorer.quality.rows import NONE, LabelTable
from stream_scorer.quality.run import DAY_MS, QualityOptions, new_counts, result_of
from stream_scorer.quality.score_file import ScoreFile
from tests.support.factories import make_score

BATCH: Final = 10_000  # as many as the reader takes from Kafka at once
FIRST_ID: Final = 1 << 28  # from here on, an id is an Avro long of five bytes
_ID_AT: Final = 10  # right after the framing
_ID_BYTES: Final = 5
NOW: Final = 1_790_000_000_000


def make_bodies(seed: int = 1) -> list[bytes]:
    """Scores as bytes, all of which have an id of five bytes."""
    rng = random.Random(seed)
    found = []
    for offset in range(BATCH):
        score = rng.random() ** 6
        fields: dict[str, Any] = {"score": score, "transaction_id": FIRST_ID}
        if score >= 0.88:
            reasons = [
                {"feature": f"card1_count_{i}", "value": "17", "contribution": rng.random()}
                for i in range(5)
            ]
            context = {"TransactionAmt": round(rng.expovariate(0.01), 2), "ProductCD": "W"}
            decision = "BLOCK" if score >= 0.97 else "REVIEW"
            fields |= {"decision": decision, "is_flagged": True, "reasons": reasons}
            fields |= {"context": {**context, "card1": 1.0, "P_emaildomain": "gmail.com"}}
        thresholds = {"review_threshold": 0.88, "block_threshold": 0.97}
        value = make_score("transactions", 0, offset, **thresholds, **fields)
        found.append(encode_record("fraud_score", value))
    return found


def with_ids(bodies: list[bytes], first: int) -> list[bytes | None]:
    """The same scores of other transactions."""
    return [
        body[:_ID_AT] + zigzag(FIRST_ID + first + i) + body[_ID_AT + _ID_BYTES :]
        for i, body in enumerate(bodies)
    ]


def zigzag(number: int) -> bytes:
    """An Avro long of five bytes."""
    number <<= 1
    parts = [(number >> shift) & 0x7F for shift in range(0, 35, 7)]
    return bytes([part | 0x80 for part in parts[:-1]] + parts[-1:])


def make_labels(rows: int, count: int) -> LabelTable:
    """Labels of random transactions, a third of them chargebacks."""
    rng = np.random.default_rng(2)
    ids = FIRST_ID + np.sort(rng.choice(rows, count, replace=False)).astype(np.int64)
    is_report = rng.random(count) < 1 / 3
    values = np.where(is_report, 1, rng.integers(0, 2, count)).astype(np.int8)
    unstated = np.full(count, -1, np.int64)
    return LabelTable(
        ids,
        values,
        np.full(count, NOW - 1),
        np.where(is_report, NONE, values).astype(np.int8),
        np.where(is_report, values, NONE).astype(np.int8),
        unstated,
        unstated,
    )


def peak_mib() -> float:
    """The peak of this process's memory, in MiB (Linux counts kibibytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(rows: int, labels: int, state: Path | None) -> dict[str, Any]:
    """Read and judge ``rows`` scores; with a state file also by way of that."""
    bodies = make_bodies()
    options = QualityOptions(since=NOW - 30 * DAY_MS)
    reader = QualityReader(LocalSchemas("fraud_score"), "transactions")
    reader.read([*bodies[:100]], np.full(100, NOW), list)  # compile
    before, spent = peak_mib(), 0.0
    begun = time.perf_counter()
    counts = new_counts(options, make_labels(rows, min(labels, rows)), NOW)
    file = ScoreFile(state, {"topic": "bench"}, options.since) if state else None
    spent += time.perf_counter() - begun
    for first in range(0, rows, BATCH):
        values = with_ids(bodies[: min(BATCH, rows - first)], first)
        days = 30 * (first / rows)
        times = np.full(len(values), NOW - 1 - round(days * DAY_MS))
        begun = time.perf_counter()
        found = reader.read(values, times, list)
        if file:
            file.add(found, 0, first + len(values))
        else:
            counts.add(found)
        spent += time.perf_counter() - begun
    begun = time.perf_counter()
    if file:
        file.flush()
        for found in file.batches():
            counts.add(found)
        file.close()
    result = result_of(counts, options, lambda _version: {}, reader.refused, spent, {})
    spent += time.perf_counter() - begun
    assert result.scores == rows
    (version,) = result.as_json()["versions"]
    return {
        "rows": rows,
        "labelled": version["labels"]["labelled"],
        "seconds": round(spent, 2),
        "rows_per_second": round(rows / spent),
        "peak_mib": round(peak_mib()),
        "peak_mib_before": round(before),
        "state_bytes_per_row": round(state.stat().st_size / rows, 1) if state else None,
        "average_precision": version["average_precision"]["matured"]["value"],
    }


def main() -> int:
    """Print what one run took."""
    parser = argparse.ArgumentParser(description="Speed and memory of stream-scorer quality.")
    parser.add_argument("--rows", type=positive, default=1_000_000)
    parser.add_argument("--labels", type=positive, default=100_000)
    parser.add_argument("--state", action="store_true", help="by way of a state file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(args.rows, args.labels, Path(folder) / "state" if args.state else None)
    if args.json:
        say_json(found)
    else:
        for name, value in found.items():
            say(f"{name.replace('_', ' '):20} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
