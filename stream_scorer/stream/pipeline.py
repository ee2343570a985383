"""Turns polled records into outgoing ones: decode, advance histories, score, encode.

Pure but for the histories, which have a port of their own: no clock, no socket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.framing import Header, Headers
from schemas.layout import Layout
from schemas.rejections import Rejection, Stage
from schemas.scores.sampling import SHARE_HEADER, choose
from schemas.scores.writer import encode_scores
from schemas.transactions.codec import Decoded, TransactionDecoder
from stream_scorer.dead_letters.repeats import find_first_copies
from stream_scorer.dead_letters.writing import RejectedInput, build_dead_letter
from stream_scorer.drift.feature_counts import COUNTED_SHARE
from stream_scorer.drift.features import (
    FeatureReferences,
    FeatureSample,
    choose_rows,
    read_feature_references,
)
from stream_scorer.errors import ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Scores, score_matrix
from stream_scorer.stream.outcome import Basis, Destinations, Outcome, ScoredPart
from stream_scorer.stream.ports import Histories, HistoryStep, NoHistories, Outgoing, Polled

TRACE_HEADERS: Final = ("traceparent", "tracestate")

_MAX_TRACE_BYTES: Final = 1024  # W3C Trace Context: a tracestate of 512 must be propagated
_NO_HISTORIES: Final = NoHistories()
_LARGEST_BLOCK_BYTES: Final = 31 * 1024 * 1024  # glibc accepts at most 32 MiB as a hint


class Pipeline:
    """Decodes, scores and encodes.

    Its only state is what it has read once: writer schemas, and a bundle's reference histograms.

    Args:
        decoder: reads the records.
        to: the topics of outcomes.
        with_sample: outcomes carry feature values of some rows, to measure their drift.
    """

    def __init__(
        self, decoder: TransactionDecoder, to: Destinations, *, with_sample: bool = True
    ) -> None:
        self._decoder = decoder
        self._to = to
        self._with_sample = with_sample
        self._references: tuple[Bundle | None, FeatureReferences] = None, FeatureReferences()
        self._keeps_basis: Callable[[], bool] = lambda: False
        retain_freed_memory()

    def keep_basis_if(self, is_wanted: Callable[[], bool]) -> None:
        """Put what a batch was scored by into its outcome, if ``is_wanted`` says so.

        It holds some 6 kB a transaction until the outcome is dropped.
        """
        self._keeps_basis = is_wanted

    def process(
        self, polled: Polled, bundle: Bundle, now_ms: int, histories: Histories = _NO_HISTORIES
    ) -> Outcome:
        """One outcome for each record, in input order, all by one model version.

        Args:
            polled: the records.
            bundle: the model.
            now_ms: epoch milliseconds, used only for the scores' ``scored_at``.
            histories: they advance once, whatever happens to the batch afterwards; the step is in
                the outcome. If this raises, they are as they were before.
        """
        # The same bundle decodes and scores, so the batch has the columns that its features read.
        decoded, rejections = self._decode(polled, bundle.features.layout)
        step = _advance(histories, bundle, polled, decoded)
        if step is None:
            return self._outcome(polled, bundle, now_ms, decoded, rejections)
        try:
            decoded = decoded._replace(batch=decoded.batch.with_history(step.columns))
            found = self._outcome(polled, bundle, now_ms, decoded, rejections)
        except BaseException:
            histories.rollback(step)
            raise
        return replace(found, step=step)

    def _outcome(
        self,
        polled: Polled,
        bundle: Bundle,
        now_ms: int,
        decoded: Decoded,
        rejections: list[Rejection],
    ) -> Outcome:
        records: list[Outgoing | None] = [None] * len(polled)
        decisions: Counter[str] = Counter()
        found: list[NDArray[np.float64]] = []
        keeps = self._keeps_basis()
        parts: list[ScoredPart] = []
        sampled = 0
        references = self._references_of(bundle)
        chosen = _chosen(references, polled.offsets[decoded.kept])
        watched: list[NDArray[np.float64]] = []
        for rows, scores, matrix in self._score(decoded, bundle, rejections):
            batch = decoded.batch.take(rows) if len(rows) < len(decoded.batch) else decoded.batch
            where = decoded.kept[rows]
            sampled += self._publish_scores(
                polled, batch, scores, bundle, where, now_ms, records, rejections
            )
            counts = np.bincount(scores.decisions, minlength=3).tolist()
            decisions.update(dict(zip(("APPROVE", "REVIEW", "BLOCK"), counts, strict=True)))
            found.append(scores.scores)
            if len(references.columns):
                watched.append(matrix[np.ix_(np.flatnonzero(chosen[rows]), references.columns)])
            if keeps:
                parts.append(ScoredPart(where, batch, scores.scores, scores.decisions))
        for rejection in rejections:
            records[rejection.index] = self._dead_letter(polled, rejection)
        done = [r for r in records if r is not None]
        if len(done) != len(polled):
            raise AssertionError("a record has no outcome")
        return Outcome(
            done,
            len(polled) - len(rejections),
            decisions["REVIEW"] + decisions["BLOCK"],
            rejections,
            decisions,
            bundle.version,
            np.concatenate([np.empty(0), *found]),
            sampled=sampled,
            sample=FeatureSample(references, np.concatenate(watched)) if watched else None,
            basis=Basis(bundle, parts) if keeps else None,
        )

    def _references_of(self, bundle: Bundle) -> FeatureReferences:
        """The reference histograms of a bundle, read once for all its batches."""
        if not self._with_sample:
            return FeatureReferences()
        if self._references[0] is not bundle:
            found = read_feature_references(bundle.version, bundle.metadata, bundle.features.names)
            self._references = bundle, found
        return self._references[1]

    def _decode(self, polled: Polled, layout: Layout | None) -> tuple[Decoded, list[Rejection]]:
        """Decode what could be looked at; all other records become rejections."""
        faults = polled.faults
        if not faults:
            decoded = self._decoder.decode(polled.values, polled.headers, layout)
            return decoded, list(decoded.rejections)
        values = [None if row in faults else value for row, value in enumerate(polled.values)]
        decoded = self._decoder.decode(values, polled.headers, layout)
        rejections = [r for r in decoded.rejections if r.index not in faults]
        rejections += [Rejection(row, Stage.FRAMING, reason) for row, reason in faults.items()]
        return decoded, rejections

    def _score(
        self,
        decoded: Decoded,
        bundle: Bundle,
        rejections: list[Rejection],
    ) -> list[tuple[NDArray[np.int64], Scores, NDArray[np.float64]]]:
        """Parts of the batch with their scores; rows that cannot be scored become rejections.

        A batch that raises is split in half until the record at fault is alone.
        """
        batch, kept = decoded.batch, decoded.kept
        todo = [np.arange(len(batch), dtype=np.int64)] if len(batch) else []
        done: list[tuple[NDArray[np.int64], Scores, NDArray[np.float64]]] = []
        while todo:
            rows = todo.pop()
            part = batch if len(rows) == len(batch) else batch.take(rows)
            try:
                matrix = bundle.features.transform(part)
                scores = score_matrix(part, bundle, matrix)
            except (ScorerError, MemoryError):  # not a record's fault
                raise
            except Exception as error:
                if len(rows) == 1:
                    reason = f"{type(error).__name__}: {error}"
                    rejections.append(Rejection(int(kept[rows[0]]), Stage.SCORE, reason))
                else:
                    todo += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
                continue
            finite = np.isfinite(scores.raw)
            if finite.all():
                done.append((rows, scores, matrix))
                continue
            rejections += [
                Rejection(int(row), Stage.SCORE, "the score is not a finite number")
                for row in kept[rows[~finite]]
            ]
            if finite.any():
                todo.append(rows[finite])
        return done

    def _publish_scores(
        self,
        polled: Polled,
        batch: TransactionBatch,
        scores: Scores,
        bundle: Bundle,
        where: NDArray[np.int64],
        now_ms: int,
        records: list[Outgoing | None],
        rejections: list[Rejection],
    ) -> int:
        """Set the records of scored rows; returns how many of them are sampled."""
        partitions, offsets = polled.partitions[where], polled.offsets[where]
        is_sampled = self._sample(polled.topic, partitions, offsets, scores)
        values = encode_scores(
            self._to.score_head,
            batch,
            scores.scores,
            scores.decisions,
            scores.reasons,
            (bundle.thresholds.review, bundle.thresholds.block),
            bundle.version,
            now_ms,
            polled.topic,
            partitions,
            offsets,
            is_sampled,
        )
        topic, limit = self._to.output, self._to.limit(self._to.output)
        common: list[Header] = [
            ("model-version", bundle.version.encode()),
            ("content-type", b"avro/binary"),
        ]
        keys, headers = polled.keys, polled.headers
        for row, partition, value in zip(where.tolist(), partitions.tolist(), values, strict=True):
            given = headers[row]
            sent = common + trace(given) if given else common
            key = keys[row]
            if len(value) + (len(key) if key else 0) > limit:
                reason = f"the score has {len(value)} bytes, more than topic {topic} accepts"
                rejections.append(Rejection(row, Stage.PUBLISH, reason))
                continue
            records[row] = Outgoing(topic, partition, key, value, sent)
        return 0 if is_sampled is None else self._state_share(where[is_sampled], records)

    def _sample(
        self,
        topic: str,
        partitions: NDArray[np.int32],
        offsets: NDArray[np.int64],
        scores: Scores,
    ) -> NDArray[np.bool_] | None:
        """The rows of the random lane; None if there are none."""
        if not self._to.sample_share:
            return None
        chosen = choose(topic, partitions, offsets, self._to.sample_share) & ~scores.flagged
        return chosen if chosen.any() else None

    def _state_share(self, rows: NDArray[np.int64], records: list[Outgoing | None]) -> int:
        """Add the share to the headers of sampled scores; returns how many were published."""
        share = (SHARE_HEADER, repr(self._to.sample_share).encode())
        published = [(row, records[row]) for row in rows.tolist()]
        stated = [(row, record) for row, record in published if record is not None]
        for row, record in stated:
            records[row] = record._replace(headers=[*record.headers, share])
        return len(stated)

    def _dead_letter(self, polled: Polled, rejection: Rejection) -> Outgoing:
        row = rejection.index
        partition = int(polled.partitions[row])
        rejected = RejectedInput(
            polled.topic,
            partition,
            int(polled.offsets[row]),
            polled.keys[row],
            polled.values[row],
            polled.headers[row],
            polled.faults.get(row),
        )
        dead_letter = build_dead_letter(rejected, rejection, self._to.limit(self._to.dlq))
        return Outgoing(self._to.dlq, partition, *dead_letter)


def _advance(
    histories: Histories, bundle: Bundle, polled: Polled, decoded: Decoded
) -> HistoryStep | None:
    """Advance the histories by the records that could be decoded; None: the bundle has none.

    The records of a batch are scored in parts if one of them raises. So this comes before.
    """
    if not histories.has_history(bundle):
        return None
    kept, headers = decoded.kept, polled.headers
    if len(kept) < len(polled):
        headers = [headers[row] for row in kept.tolist()]
    return histories.step(bundle, polled, decoded.batch, kept, find_first_copies(headers))


def _chosen(references: FeatureReferences, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows are sampled; nothing is computed where no feature is watched."""
    if not references.features:
        return np.zeros(len(offsets), np.bool_)
    return choose_rows(offsets, COUNTED_SHARE)


def retain_freed_memory() -> None:
    """Make the C library keep the memory that one batch frees for the next one.

    glibc returns memory to the system once twice the largest block ever freed is unused. A batch
    of 2,000 uses about 20 MiB in blocks of 7 MiB. They would be mapped again page by page for each
    batch, which costs more than computing its features. The block is never touched, so it uses no
    memory itself. With other C libraries this has no effect.
    """
    np.empty(_LARGEST_BLOCK_BYTES, np.uint8)


def trace(headers: Headers) -> list[Header]:
    """The W3C trace context among a record's headers; headers too long to be one are left out."""
    return [
        h for h in headers or () if h[0] in TRACE_HEADERS and len(h[1] or b"") <= _MAX_TRACE_BYTES
    ][: len(TRACE_HEADERS)]
