"""A result of ``stream-scorer drift``, as the command writes it to the artifact store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from stream_scorer.drift.comparison import compare_feature, compare_scores, most_moved
from stream_scorer.drift.features import FeatureReference
from stream_scorer.drift.reading.report import DriftReport
from stream_scorer.drift.reference import Reference


def make_report(names: tuple[str, ...] = ("TransactionAmt", "C13", "D1")) -> DriftReport:
    """Features that moved, the last one most, and scores that did not."""
    before = np.array([100, 200, 300, 400, 50])
    shifts = [
        compare_feature(
            FeatureReference(name, np.array([1.0, 2.5, 10.0]), before),
            before + np.array([0, 0, 0, 0, 900 * number]),
        )
        for number, name in enumerate(names)
    ]
    scores = compare_scores(
        Reference(np.array([0.1, 0.6]), np.array([0.7, 0.2, 0.1]), 5000), np.array([700, 200, 100])
    )
    return DriftReport(
        "v7",
        1_700_000_000_000,
        1_700_600_000_000,
        1_700_600_001_000,
        1050,
        90_000,
        tuple(most_moved(shifts)),
        scores,
        {"uid_hours_since": "it needs every earlier input of its card"},
        ("3 inputs cannot be decoded",),
    )


def put_report(folder: Path, content: bytes | None = None) -> str:
    """Write a result into a new store; returns its URI."""
    place = folder / "store/drift"
    place.mkdir(parents=True)
    (place / "latest.json").write_bytes(content or orjson.dumps(make_report().as_json()))
    return f"file://{folder / 'store'}"
