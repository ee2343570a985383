"""From polled records to outgoing ones: decode, score, encode. Pure: no clock, no socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.framing import Header, Headers
from schemas.rejections import CUT_HEADER, ERROR_HEADERS, Rejection, Stage
from schemas.score_writer import encode_scores
from schemas.transaction_codec import TransactionDecoder
from stream_scorer.errors import ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Scores, score
from stream_scorer.ports import Outgoing, Polled
from stream_scorer.runtime.kafka import OUTPUT_MAX_BYTES

TRACE_HEADERS: Final = ("traceparent", "tracestate")

_OVERHEAD_BYTES: Final = 4096  # batch and record framing and a score's headers, with room
_MAX_TRACE_BYTES: Final = 1024  # W3C Trace Context: a tracestate of 512 must be propagated
_REASON_CHARS: Final = 500
_LARGEST_BLOCK_BYTES: Final = 31 * 1024 * 1024  # glibc takes no more than 32 MiB as a hint
_ERROR_CLASSES: Final = {
    Stage.FRAMING: "FramingError",
    Stage.SCHEMA: "UnknownSchema",
    Stage.DECODE: "DecodeError",
    Stage.VALIDATE: "ValidationError",
    Stage.SCORE: "ScoreError",
    Stage.PUBLISH: "RecordTooLarge",
}


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where outcomes go, how scores are framed, and how large a record may be by topic."""

    output: str
    dlq: str
    score_head: bytes
    max_bytes: Mapping[str, int]

    def limit(self, topic: str) -> int:
        """Bytes of key, value and headers that fit into one record.

        The topic has a limit and so has our producer, whatever the topic would take.
        """
        allowed = min(self.max_bytes.get(topic, OUTPUT_MAX_BYTES), OUTPUT_MAX_BYTES)
        return allowed - _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one polled batch, in input order: one outgoing record for each."""

    records: Sequence[Outgoing]
    scored: int
    flagged: int
    rejections: Sequence[Rejection]
    decisions: Counter[str]
    model_version: str
    scores: NDArray[np.float64]


class Pipeline:
    """Decodes, scores and encodes; holds only the decode plans of the writers met."""

    def __init__(self, decoder: TransactionDecoder, to: Destinations) -> None:
        self._decoder = decoder
        self._to = to
        _keep_freed_memory()

    def process(self, polled: Polled, bundle: Bundle, now_ms: int) -> Outcome:
        """One outcome for each record, in input order, all by one model version.

        ``now_ms`` (epoch milliseconds) goes into the scores as ``scored_at`` and into nothing
        else.
        """
        decoded = self._decoder.decode(polled.values, polled.headers)
        rejections = list(decoded.rejections)
        records: list[Outgoing | None] = [None] * len(polled)
        decisions: Counter[str] = Counter()
        found: list[NDArray[np.float64]] = []
        for rows, scores in self._score(decoded.batch, bundle, decoded.kept, rejections):
            batch = decoded.batch.take(rows) if len(rows) < len(decoded.batch) else decoded.batch
            where = decoded.kept[rows]
            self._publish_scores(polled, batch, scores, bundle, where, now_ms, records, rejections)
            counts = np.bincount(scores.decisions, minlength=3).tolist()
            decisions.update(dict(zip(("APPROVE", "REVIEW", "BLOCK"), counts, strict=True)))
            found.append(scores.scores)
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
        )

    def _score(
        self,
        batch: TransactionBatch,
        bundle: Bundle,
        kept: NDArray[np.int64],
        rejections: list[Rejection],
    ) -> list[tuple[NDArray[np.int64], Scores]]:
        """Parts of the batch with their scores; what cannot be scored becomes a rejection.

        A batch that raises as a whole is halved until the guilty record stands alone.
        """
        todo = [np.arange(len(batch), dtype=np.int64)] if len(batch) else []
        done: list[tuple[NDArray[np.int64], Scores]] = []
        while todo:
            rows = todo.pop()
            part = batch if len(rows) == len(batch) else batch.take(rows)
            try:
                scores = score(part, bundle)
            except (ScorerError, MemoryError):  # no record's fault
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
                done.append((rows, scores))
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
    ) -> None:
        partitions, offsets = polled.partitions[where], polled.offsets[where]
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
                reason = f"the score has {len(value)} bytes, more than {topic} takes"
                rejections.append(Rejection(row, Stage.PUBLISH, reason))
                continue
            records[row] = Outgoing(topic, partition, key, value, sent)

    def _dead_letter(self, polled: Polled, rejection: Rejection) -> Outgoing:
        row = rejection.index
        key, value = polled.keys[row], polled.values[row]
        own = dead_letter_headers(
            polled.topic, int(polled.partitions[row]), int(polled.offsets[row]), rejection
        )
        headers: list[Header] = [*(polled.headers[row] or []), *own]
        room = self._to.limit(self._to.dlq) - _size(headers) - len(key or b"")
        if room < 0:  # headers of megabytes: the coordinates matter more than they do
            headers, room = own, self._to.limit(self._to.dlq) - _size(own)
            key = None if key and len(key) > room else key
            room -= len(key or b"")
        if value is not None and len(value) > room:
            headers.append((CUT_HEADER, str(len(value)).encode()))
            value = value[: max(0, room - 64)]
        return Outgoing(self._to.dlq, int(polled.partitions[row]), key, value, headers)


def _keep_freed_memory() -> None:
    """Have the C library keep what one batch frees for the next one.

    glibc gives memory back once twice the largest block ever freed is unused. A batch of
    2,000 has some 20 MiB in blocks of 7: they would come back page by page for each batch, which
    costs more than its features do. The block is never touched, so it costs no memory itself;
    elsewhere this does nothing.
    """
    np.empty(_LARGEST_BLOCK_BYTES, np.uint8)


def trace(headers: Headers) -> list[Header]:
    """The W3C trace context among a record's headers; what is too long to be one is left."""
    return [
        h for h in headers or () if h[0] in TRACE_HEADERS and len(h[1] or b"") <= _MAX_TRACE_BYTES
    ][: len(TRACE_HEADERS)]


def dead_letter_headers(
    topic: str, partition: int, offset: int, rejection: Rejection
) -> list[Header]:
    """Headers as Kafka Connect writes them (KIP-298); numbers as decimal text."""
    start = ERROR_HEADERS
    return [
        (start + "topic", topic.encode()),
        (start + "partition", str(partition).encode()),
        (start + "offset", str(offset).encode()),
        (start + "stage", rejection.stage.value.encode()),
        (start + "exception.class.name", _ERROR_CLASSES[rejection.stage].encode()),
        (start + "exception.message", rejection.reason[:_REASON_CHARS].encode()),
    ]


def _size(headers: Sequence[Header]) -> int:
    return sum(len(name.encode()) + len(value or b"") + 8 for name, value in headers)
