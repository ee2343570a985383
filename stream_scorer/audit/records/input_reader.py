"""Reads records of the input topic into columns, and decodes some of them.

A sample is decoded, and each record that looks as if it cannot be decoded: a null value, or one
that is too long or begins as no format does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.framing import MAX_RECORD_BYTES, SCHEMA_ID_HEADER, Headers
from schemas.rejections import Stage
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.records.columns import NOT_HASHED, Content, Inputs
from stream_scorer.audit.records.digest import value_hash
from stream_scorer.audit.records.outcome_reader import (
    are_offsets,
    is_sampled,
    key_hashes,
)
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.runtime.text import as_text

_FIRST_BYTES: Final = frozenset(b"\x00\xc3{ \t\r\n")
"""What a value that can be decoded begins with, unless a header names its schema."""

_REDRIVEN: Final = "redrive."  # as stream_scorer.dead_letters.redrive writes its origin headers


class InputReader:
    """Reads inputs, and the transaction ids of a sample.

    Args:
        dlq_topic: the dead letter topic that redriven inputs come from.
        decoder: the decoder that scorers use.
        sample: decode one input in ``sample``, the same ones in each audit.
    """

    def __init__(self, dlq_topic: str, decoder: TransactionDecoder, sample: int) -> None:
        self._dlq_topic = dlq_topic
        self._decoder = decoder
        self._sample = sample

    def read(self, partition: int, records: Records) -> Inputs:
        """Read records of one partition into columns.

        Raises:
            RetryableError: the registry does not answer.
        """
        return Inputs(
            partition,
            records.offsets,
            key_hashes(records.keys),
            records.times,
            *self._contents(records),
            _origins(records, self._dlq_topic),
        )

    def passed(self, partition: int, batch: PassedBatch) -> Inputs:
        """Columns for the offsets of a batch that cannot be read: each counts as an input.

        Their dead letters, written by ``dlq skip``, have no key either.
        """
        offsets = np.arange(batch.begin, batch.next_offset, dtype=np.int64)
        size = len(offsets)
        return Inputs(
            partition,
            offsets,
            key_hashes([None] * size),
            np.full(size, batch.time, np.int64),
            np.full(size, Content.REJECTED, np.uint8),
            np.zeros(size, np.int64),
            np.zeros(size, np.int64),
            np.full(size, NOT_HASHED, np.int64),
        )

    def _contents(
        self, records: Records
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The columns ``contents``, ``transactions``, ``event_times`` and ``value_hashes``."""
        size = len(records)
        contents = np.full(size, Content.NOT_SAMPLED, np.uint8)
        transactions, event_times = np.zeros(size, np.int64), np.zeros(size, np.int64)
        hashes = np.full(size, NOT_HASHED, np.int64)
        values, headers, faults = records.values, records.headers, records.faults()
        wanted = is_sampled(records.offsets, self._sample)
        odd = [r for r in _odd_looking(values) if not _names_schema(values[r], headers[r])]
        wanted[[*odd, *faults]] = True
        rows = np.flatnonzero(wanted)
        if len(rows):
            contents[rows] = Content.REJECTED
            hashes[rows] = [
                NOT_HASHED if row in faults and values[row] is None else value_hash(values[row])
                for row in rows.tolist()
            ]
            rows = rows[~np.isin(rows, list(faults))]  # scorers do not decode these either
            chosen = rows.tolist()
            decoded = self._decoder.decode(
                [values[r] for r in chosen], [headers[r] for r in chosen]
            )
            unknown = [r.index for r in decoded.rejections if r.stage is Stage.SCHEMA]
            contents[rows[unknown]] = Content.UNKNOWN
            contents[rows[decoded.kept]] = Content.DECODED
            transactions[rows[decoded.kept]] = decoded.batch.ids
            event_times[rows[decoded.kept]] = decoded.batch.event_times
        return contents, transactions, event_times, hashes


def _odd_looking(values: list[bytes | None]) -> list[int]:
    """Rows of values that cannot be decoded, unless a header names their schema."""
    return [
        row
        for row, value in enumerate(values)
        if not value or value[0] not in _FIRST_BYTES or len(value) > MAX_RECORD_BYTES
    ]


def _names_schema(value: bytes | None, headers: Headers) -> bool:
    return bool(value) and any(name == SCHEMA_ID_HEADER for name, _ in headers or ())


def _origins(records: Records, dlq_topic: str) -> NDArray[np.int64]:
    """The redriven inputs: offset, then partition and offset of the dead letter."""
    rows = []
    for row, headers in enumerate(records.headers):
        if not headers:
            continue
        found = {n: as_text(v) for n, v in headers if n.startswith(_REDRIVEN)}
        if found.get(_REDRIVEN + "topic") != dlq_topic:
            continue
        try:
            origin = [int(found[_REDRIVEN + part]) for part in ("partition", "offset")]
        except (KeyError, ValueError):  # anybody can write such headers; ours are complete
            continue
        if are_offsets(origin):
            rows.append([int(records.offsets[row]), *origin])
    return np.array(rows, np.int64).reshape(-1, 3)
