"""A made-up month of scores for the threshold page, and what a plain loop says about it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.feed.reading import FlagReader, Unsaved
from schemas.resolver import LocalSchemas
from tests.support.dashboard_kit import encode_score, make_context, make_score

REVIEW, BLOCK = 0.6237, 0.9
"""Neither the review threshold nor the scores beside it are on an edge of a bin."""

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Scored:
    """One score as it is on the topic."""

    offset: int
    transaction: int
    version: str
    score: float
    day: int
    amount: float

    @property
    def id(self) -> str:
        return f"0-{self.offset}"

    def record(self) -> dict[str, Any]:
        is_flagged = self.score >= REVIEW
        decision = "BLOCK" if self.score >= BLOCK else "REVIEW" if is_flagged else "APPROVE"
        return make_score(
            self.score,
            transaction_id=self.transaction,
            review_threshold=REVIEW,
            block_threshold=BLOCK,
            decision=decision,
            is_flagged=is_flagged,
            model_version=self.version,
            scored_at=self.day * DAY_MS + self.offset,
            source={"topic": "transactions", "partition": 0, "offset": self.offset},
            reasons=[],
            context=make_context(TransactionAmt=self.amount) if is_flagged else None,
        )


def make_month(today: int, seed: int = 1, per_day: int = 12) -> list[Scored]:
    """30 days up to today. Version v6 ended ten days ago; each transaction id is used once."""
    pick = random.Random(seed)
    beside = [REVIEW, BLOCK, math.nextafter(REVIEW, 0), math.nextafter(0.7, 0), 0.7]
    rows: list[Scored] = []
    for day in range(today - 29, today + 1):
        for i in range(per_day):
            score = beside[i] if i < len(beside) else pick.random()
            number = len(rows) + 1
            version = "v7" if day > today - 10 else "v6"
            rows.append(Scored(number, 5_000 + number, version, score, day, float(number)))
    return rows


def write_table(folder: Path, rows: list[Scored]) -> Path:
    """The cache after these scores were read."""
    writer = FlagWriter(folder / "flags.sqlite3", keep=100_000)
    reader = FlagReader("fraud-scores", LocalSchemas("fraud_score"), "transactions")
    unsaved, counts = Unsaved(), Counts()
    reader.read([(0, row.offset, encode_score(row.record())) for row in rows], unsaved, counts)
    writer.save(unsaved.flags, unsaved.positions, counts, unsaved.tallies)
    writer.close()
    return writer.path
