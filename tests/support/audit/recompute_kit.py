"""Topics whose scores are recomputed, with bundles and histories of the test's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.records import decode_record
from stream_scorer.audit.verdict import Fault, Offender, Verdict
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.kafka.spans import Spans
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.by_version import BundlesByVersion, NoBundle
from stream_scorer.model.scoring import Decision
from stream_scorer.model.scoring import score as score_batch
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.state.history_source import HistoryUnknown
from stream_scorer.state.inputs import RAISE, Choose, InputFaults, InputRows, Refused
from tests.support.audit.forged_topics import (
    PARTITIONS,
    REVIEW,
    VERSION,
    Sent,
    Topics,
    edit_score,
    make_topics,
)
from tests.support.factories import make_bundle

SPEC: Final = "f" * 64
"""The fingerprint of a history spec."""


def topics(**changes: Any) -> Topics:
    """What a pipeline wrote; every score is to be recomputed."""
    found = make_topics()
    found.recompute = 1
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def fields(sent: Sent) -> dict[str, Any]:
    """The fields of a score."""
    return decode_record("fraud_score", sent.value)


def source_of(sent: Sent) -> int:
    """The offset of a score's input."""
    return int(fields(sent)["source"]["offset"])


def flagged_row(of: Topics, partition: int = 0) -> int:
    """The row of the first flagged score of a partition."""
    scores = of.scores(partition)
    return next(row for row, sent in enumerate(scores) if fields(sent)["is_flagged"])


def found(verdict: Verdict) -> list[Offender]:
    """The scores that were listed as not reproduced."""
    return [o for o in verdict.offenders if o.fault is Fault.NOT_REPRODUCED]


class CountingTopics(Topics):
    """Counts the inputs that are decoded again."""

    decoded = 0

    def accepted(
        self, spans: Spans, refused: Refused, choose: Choose | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        for rows in Topics.accepted(self, spans, refused, choose, faults):
            self.decoded += len(rows)
            yield rows


def counting(of: Topics) -> CountingTopics:
    """The same topics, which count."""
    return CountingTopics(
        of.given, of.written, recompute=of.recompute, bundles=of.bundles, histories=of.histories
    )


class WithHistory:
    """Features whose amount is that of the transaction plus the number of earlier inputs."""

    def __init__(self, inner: FeatureSet) -> None:
        self._inner = inner
        self.program = SimpleNamespace(history=SimpleNamespace(fingerprint=SPEC))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def transform(self, batch: TransactionBatch) -> NDArray[np.float64]:
        assert batch.history is not None
        assert batch.history.fingerprint == SPEC
        matrix = self._inner.transform(batch)
        matrix[:, self._inner.names.index("TransactionAmt")] += batch.history.values[:, 0] * 20
        return matrix


def with_history(bundle: Bundle) -> Bundle:
    """The same bundle, except that its features read a history."""
    return replace(bundle, features=cast("FeatureSet", WithHistory(bundle.features)))


@dataclass
class CountingHistory:
    """The number of earlier inputs of the partition that advance, as a history.

    ``known`` has the inputs by partition, with whether they advance: where it is not given the
    inputs in between, it finds the state itself.
    """

    known: dict[int, dict[int, bool]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    offsets: dict[int, list[int]] = field(default_factory=dict)
    lost: list[tuple[int, str]] = field(default_factory=list)
    unknown_from: int = 10**9
    changed: Sequence[int] = ()
    sums: dict[int, str] = field(default_factory=dict)

    def changes(self, bundle: Bundle, partition: int) -> Sequence[int]:
        del bundle, partition
        return self.changed

    def attach(self, bundle: Bundle, rows: InputRows) -> HistoryColumns | HistoryUnknown:
        assert bundle.features.program is not None
        seen = self.offsets.setdefault(rows.partition, [])
        last = seen[-1] if seen else -1
        known = self.known.get(rows.partition, {})
        skipped = [own for offset, own in known.items() if last < offset < rows.offsets[0]]
        seen += rows.offsets.tolist()
        before = self.counts.get(rows.partition, 0) + sum(skipped)
        if rows.offsets[-1] >= self.unknown_from:
            return HistoryUnknown("a snapshot is missing")
        self.counts[rows.partition] = before + int(rows.advances.sum())
        own = before + np.cumsum(rows.advances) - rows.advances
        return HistoryColumns(SPEC, own.astype(np.float64)[:, np.newaxis])

    def lose(self, partition: int, reason: str) -> None:
        self.lost.append((partition, reason))

    def check_sum(
        self, partition: int, offset: int, mark: Mapping[str, str]
    ) -> str | HistoryUnknown:
        assert offset > 0
        if mark.get("era") != "3":
            return HistoryUnknown("another era")
        return self.sums[partition]


def history_topics(**changes: Any) -> tuple[Topics, CountingHistory]:
    """Topics whose scores were made with a history; one input in six is a redriven one."""
    of, known = topics(**changes), dict[int, dict[int, bool]]()
    for partition, held in of.given.items():
        for offset in sorted(held)[2::6]:
            held[offset] = held[offset].with_header("redrive.stage", b"score")
        accepted = sorted(map(source_of, of.scores(partition)))
        known[partition] = {o: "redrive.stage" not in dict(held[o].headers) for o in accepted}
    histories = CountingHistory(known)
    bundle = with_history(make_bundle(VERSION, review=REVIEW))
    assert rescore(of, bundle, history=CountingHistory()) == sum(
        len(of.scores(p)) for p in range(PARTITIONS)
    )
    of.bundles, of.histories = Fixed({VERSION: bundle}), histories
    return of, histories


class Fixed(BundlesByVersion):
    """These bundles, and no others."""

    def __init__(self, held: dict[str, Bundle]) -> None:
        super().__init__(MemoryStore())
        self.held = held

    def get(self, version: str) -> Bundle | NoBundle:
        return self.held.get(version) or NoBundle(f"version {version} is not there")


def rescore(
    of: Topics, bundle: Bundle, *, from_offset: int = 0, history: CountingHistory | None = None
) -> int:
    """Replace the scores from an offset on by those of another bundle; returns their number."""
    places = [
        (p, row, source_of(sent))
        for p in range(PARTITIONS)
        for row, sent in enumerate(of.scores(p))
    ]
    changed = 0
    for partition in range(PARTITIONS):
        rows_at = {offset: row for p, row, offset in places if p == partition}
        refused = {partition: np.array(sorted(set(of.given[partition]) - set(rows_at)), np.int64)}
        span = {partition: of.spans()[partition]}
        for rows in of.accepted(span, refused, None, RAISE):
            batch = rows.batch
            if history is not None:
                columns = history.attach(bundle, rows)
                assert isinstance(columns, HistoryColumns)
                batch = batch.with_history(columns)
            scores = score_batch(batch, bundle)
            for row, offset in enumerate(rows.offsets.tolist()):
                if offset < from_offset:
                    continue
                decision = Decision(int(scores.decisions[row])).name
                reasons = [
                    {"feature": r.feature, "value": r.value, "contribution": r.contribution}
                    for r in scores.reasons.get(row, ())
                ]
                of.scores(partition)[rows_at[offset]] = edit_score(
                    of.scores(partition)[rows_at[offset]].with_header(
                        "model-version", bundle.version.encode()
                    ),
                    score=float(scores.scores[row]),
                    decision=decision,
                    is_flagged=decision != "APPROVE",
                    review_threshold=bundle.thresholds.review,
                    block_threshold=bundle.thresholds.block,
                    model_version=bundle.version,
                    reasons=reasons,
                    context=None,
                )
                changed += 1
    return changed
