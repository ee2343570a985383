"""Scores the transactions of a committed batch again, with the challenger.

Pure, but for the decoder's cache of writers' schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.scores.writer import encode_scores
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Scores, score
from stream_scorer.shadow.figures import Figures, count
from stream_scorer.shadow.selection import choose
from stream_scorer.stream.outcome import Basis, ScoredPart
from stream_scorer.stream.ports import Outgoing, Polled


@dataclass(frozen=True, slots=True)
class ShadowBatch:
    """A committed batch.

    Attributes:
        polled: the records.
        basis: what the champion scored them by.
    """

    polled: Polled
    basis: Basis

    @property
    def rows(self) -> int:
        """The transactions that the champion scored."""
        return sum(len(part.where) for part in self.basis.parts)

    @property
    def nbytes(self) -> int:
        """The memory that it holds, roughly; quick to compute."""
        return sum(map(_part_bytes, self.basis.parts))


class ShadowScores(NamedTuple):
    """Rows of the poll (int64) with the challenger's scores, and both versions' figures."""

    where: NDArray[np.int64]
    batch: TransactionBatch
    scores: Scores
    figures: Figures
    not_finite: int


class CannotDecode(Exception):
    """A record that was decoded for the champion cannot be decoded for the challenger."""


def history_of(bundle: Bundle) -> str | None:
    """The fingerprint of the card history that a bundle reads; None: it reads none."""
    spec = bundle.features.program.history
    return None if spec is None else spec.fingerprint


def has_history_for(needed: str | None, champion: Bundle) -> bool:
    """Whether batches of the champion have the card history with this fingerprint."""
    return needed is None or needed == history_of(champion)


def choose_rows(
    job: ShadowBatch, share: float
) -> Iterator[tuple[ScoredPart, NDArray[np.int64] | None]]:
    """The parts of a batch with their chosen rows, int64; None: all of them."""
    polled = job.polled
    for part in job.basis.parts:
        where = part.where
        if share >= 1:
            yield part, None
            continue
        chosen = choose(polled.topic, polled.partitions[where], polled.offsets[where], share)
        if chosen.any():
            yield part, np.flatnonzero(chosen)


def select(job: ShadowBatch, share: float) -> list[ScoredPart]:
    """The chosen transactions of a batch, in parts."""
    return [part if rows is None else _take(part, rows) for part, rows in choose_rows(job, share)]


def score_part(
    polled: Polled, part: ScoredPart, challenger: Bundle, decoder: TransactionDecoder
) -> ShadowScores:
    """The challenger's scores of transactions that were selected for it.

    Raises:
        Exception: whatever the challenger raises.
    """
    batch, scores = _score(polled, part, challenger, decoder)
    return _finite(part, batch, scores)


def encode(
    head: bytes, topic: str, polled: Polled, found: ShadowScores, challenger: Bundle, now_ms: int
) -> list[Outgoing]:
    """The records of scores, with the source coordinates and keys of their inputs."""
    partitions = polled.partitions[found.where]
    values = encode_scores(
        head,
        found.batch,
        found.scores.scores,
        found.scores.decisions,
        found.scores.reasons,
        (challenger.thresholds.review, challenger.thresholds.block),
        challenger.version,
        now_ms,
        polled.topic,
        partitions,
        polled.offsets[found.where],
    )
    headers = [
        ("model-version", challenger.version.encode()),
        ("content-type", b"avro/binary"),
    ]
    return [
        Outgoing(topic, partition, polled.keys[row], value, list(headers))
        for row, partition, value in zip(
            found.where.tolist(), partitions.tolist(), values, strict=True
        )
    ]


def _score(
    polled: Polled, part: ScoredPart, challenger: Bundle, decoder: TransactionDecoder
) -> tuple[TransactionBatch, Scores]:
    batch = part.batch
    if batch.layout is not None and batch.layout != challenger.features.layout:
        batch = _decode(polled, part, challenger, decoder)
    return batch, score(_with_history(batch, part.batch, challenger), challenger)


def _with_history(
    batch: TransactionBatch, given: TransactionBatch, challenger: Bundle
) -> TransactionBatch:
    reads_history = challenger.features.program.history is not None
    return batch.with_history(given.history if reads_history else None)


def _decode(
    polled: Polled, part: ScoredPart, challenger: Bundle, decoder: TransactionDecoder
) -> TransactionBatch:
    """The columns that the challenger reads; the batch has only those of the champion."""
    rows, spans, text = part.where.tolist(), part.batch.records, part.batch.text
    if spans is None:
        raise CannotDecode("the batch was not decoded from records")
    places = zip(spans.begin.tolist(), spans.size.tolist(), strict=True)
    found = decoder.decode(
        [text[begin : begin + size].tobytes() for begin, size in places],
        [polled.headers[row] for row in rows],
        challenger.features.layout,
    )
    if len(found.kept) != len(rows):
        raise CannotDecode(f"{len(rows) - len(found.kept)} of {len(rows)} records")
    return found.batch


def _take(part: ScoredPart, rows: NDArray[np.int64]) -> ScoredPart:
    return ScoredPart(
        part.where[rows], part.batch.take(rows), part.scores[rows], part.decisions[rows]
    )


def _finite(part: ScoredPart, batch: TransactionBatch, scores: Scores) -> ShadowScores:
    """The scores that are finite numbers."""
    where, kept = part.where, np.isfinite(scores.raw)
    champion, decisions = part.scores, part.decisions
    if not kept.all():
        rows = np.flatnonzero(kept)
        places = {row: place for place, row in enumerate(rows.tolist())}
        reasons = {places[r]: found for r, found in scores.reasons.items() if r in places}
        scores = Scores(
            scores.version, scores.raw[kept], scores.scores[kept], scores.decisions[kept], reasons
        )
        where, batch = where[kept], batch.take(kept)
        champion, decisions = champion[kept], decisions[kept]
    figures = count(champion, decisions, scores.scores, scores.decisions)
    return ShadowScores(where, batch, scores, figures, int((~kept).sum()))


def _part_bytes(part: ScoredPart) -> int:
    batch = part.batch
    arrays = batch.numbers, batch.text, batch.starts, batch.lengths, batch.ids, batch.times
    history = 0 if batch.history is None else batch.history.values.nbytes
    return sum(a.nbytes for a in arrays) + history
