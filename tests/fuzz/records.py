"""Records for the decoder: valid ones in every wire format, damaged ones, and random bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch, concatenate
from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import MAX_RECORD_BYTES, SCHEMA_ID_HEADER, Headers
from schemas.transactions.codec import (
    TransactionDecoder,
    encode_transactions,
    encode_transactions_json,
)
from tests.fuzz.mutations import mutate
from tests.fuzz.writers import evolved_writers, fill, unusable_writers
from tests.support.factories import make_transactions
from tests.support.wire import FixedResolver, confluent, write_body

GOOD: Final = -1
"""Stands in :attr:`Mixed.good` for a record that is not one of the pool."""

_POOL_ROWS: Final = 40
_GUID: Final = bytes(range(16))
_GOOD_SHARE: Final = 0.25
_NOISE_SHARE: Final = 0.2
_LARGE_SHARE: Final = 0.0002


@dataclass(frozen=True, slots=True)
class Pool:
    """Valid records and, row by row, the result of decoding each alone."""

    values: list[bytes]
    headers: list[Headers]
    decoded: TransactionBatch


@dataclass(frozen=True, slots=True)
class Mixed:
    """A batch; ``good[i]`` is the position in the pool of record ``i``, or ``GOOD`` for none."""

    values: list[bytes | None]
    headers: list[Headers]
    good: NDArray[np.int64]


def make_resolver() -> FixedResolver:
    """A registry with our schema, evolved writers and hostile ones."""
    return FixedResolver(
        evolved_writers() | unusable_writers(), {_GUID: load_schema("transaction")}
    )


@cache
def make_pool() -> Pool:
    """About forty records of every wire format and writer."""
    rows = make_transactions(_POOL_ROWS, seed=3)
    batch = build_batch(rows)
    values = [*encode_transactions(batch), *encode_transactions(batch, 1)]
    values += encode_transactions_json(batch)
    for schema_id, schema in evolved_writers().items():
        values += [confluent(schema_id, write_body(schema, fill(schema_id, row))) for row in rows]
    headers: list[Headers] = [None] * len(values)
    ours = load_schema("transaction")
    values += [write_body(ours, row) for row in rows]
    headers += [[("traceparent", b"00-1-2-3"), (SCHEMA_ID_HEADER, b"\x01" + _GUID)]] * len(rows)
    decoder = TransactionDecoder(make_resolver())
    alone = []
    for value, header in zip(values, headers, strict=True):
        decoded = decoder.decode([value], [header])
        assert not decoded.rejections, decoded.rejections
        alone.append(decoded.batch)
    return Pool(values, headers, concatenate(alone))


class RecordMaker:
    """Makes batches of valid, damaged and random records from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._pool = make_pool()
        self._starts = (
            b"\x00\x00\x00\x00",
            b"\xc3\x01",
            b"\xc3\x01" + schema_fingerprint(load_schema("transaction")),
            b'{"',
            b'{"TransactionID":1,',
            b" \t\n{",
            b'{"schema": {}, "payload": {"before": null, "after": ',
            b'{"data": {"TransactionID": 1',
            b"Obj\x01",
            b"\x1f\x8b\x08",
            b"\xef\xbb\xbf{",
            b"\x00{\x00",
            b"\x08\x96\x01\x12",
        )

    def batch(self, size: int) -> Mixed:
        """``size`` records in random order."""
        values: list[bytes | None] = []
        headers: list[Headers] = []
        good = np.full(size, GOOD, np.int64)
        for i in range(size):
            drawn = self._rng.random()
            at = self._rng.randrange(len(self._pool.values))
            if drawn < _GOOD_SHARE:
                good[i] = at
                values.append(self._pool.values[at])
                headers.append(self._pool.headers[at])
            elif drawn < _GOOD_SHARE + _NOISE_SHARE:
                values.append(self._noise())
                headers.append(self._headers(None))
            else:
                values.append(self._spoil(at))
                headers.append(self._headers(self._pool.headers[at]))
        return Mixed(values, headers, good)

    def _noise(self) -> bytes | None:
        rng = self._rng
        drawn = rng.random()
        if drawn < 0.03:
            return None
        if drawn < _LARGE_SHARE:
            return rng.randbytes(64) * (MAX_RECORD_BYTES // 32)
        body = rng.randbytes(int(rng.expovariate(1 / 80)))
        if drawn < 0.4:
            return body
        if drawn < 0.7:
            known = rng.choice((*range(1, 8), *range(20, 33), rng.getrandbits(32)))
            return confluent(known, body)
        return rng.choice(self._starts) + body

    def _spoil(self, at: int) -> bytes:
        value = self._pool.values[at]
        if self._rng.random() < 0.1:  # the first half of one, the second of another
            other = self._rng.choice(self._pool.values)
            return value[: len(value) // 2] + other[len(other) // 2 :]
        return mutate(self._rng, value)

    def _headers(self, usual: Headers) -> Headers:
        rng = self._rng
        if rng.random() < 0.8:
            return usual
        names = (SCHEMA_ID_HEADER, SCHEMA_ID_HEADER, "traceparent", "", "\x00", "é" * 20)
        contents: tuple[Any, ...] = (
            None,
            b"",
            b"\x01" + _GUID,
            b"\x01" + rng.randbytes(16),
            b"\x00" + _GUID,
            _GUID,
            "\x01text",
            rng.randbytes(rng.randint(0, 40)),
        )
        return [(rng.choice(names), rng.choice(contents)) for _ in range(rng.randint(0, 3))]
