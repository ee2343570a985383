"""Whole records, fuzzed: header names as bytes, header counts, and values of any size.

What the driver does is imitated: ``headers()`` raises for a name that is not UTF-8, and a second
call on that message would end the process. Records go the way they go in a scorer, from messages
to outcomes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final, cast

from schemas.framing import MAX_RECORD_BYTES
from schemas.rejections import OMITTED_HEADER
from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import MAX_HEADERS, Records
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES, headers_size
from stream_scorer.stream.ports import Outgoing, Polled
from tests.support.factories import make_bundle
from tests.support.scoring_kit import DLQ, INPUT, NOW_MS, OUTPUT, make_pipeline, make_values

RawHeaders = list[tuple[bytes, bytes | None]]

_GOOD_SHARE: Final = 0.5
_NOT_UTF8_SHARE: Final = 0.1
_MANY_SHARE: Final = 0.01
_LARGE_SHARE: Final = 0.01
_POOL: Final = 50


class RawMessage:
    """A message as the driver gives it, with the names of its headers as bytes."""

    def __init__(
        self, offset: int, key: bytes | None, value: bytes | None, headers: RawHeaders
    ) -> None:
        self._parts = offset, key, value
        self._headers: RawHeaders | None = headers

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._parts[0]

    def key(self) -> bytes | None:
        return self._parts[1]

    def value(self) -> bytes | None:
        return self._parts[2]

    def timestamp(self) -> tuple[int, int]:
        return 1, NOW_MS

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        raw, self._headers = self._headers, None
        assert raw is not None, "a second call is a segmentation fault"
        try:
            return [(name.decode(), content) for name, content in raw] or None
        except UnicodeDecodeError as error:
            raise SystemError("returned a result with an exception set") from error


def fuzz_messages(records: int, seed: int, batch_records: int = 200) -> Iterator[dict[str, int]]:
    """Score ``records`` records; figures after each batch.

    Raises:
        AssertionError: a property does not hold; names the seed and the batch.
    """
    rng, pipeline, bundle = random.Random(seed), make_pipeline(), make_bundle()
    pool = make_values(_POOL)
    done = scored = batches = 0
    while done < records:
        batch = [_draw(rng, pool, offset) for offset in range(min(batch_records, records - done))]
        made = Records([cast("Message", message) for message, _, _ in batch])
        polled = Polled(
            INPUT, made.values, made.keys, made.headers, made.partitions, made.offsets, None,
            made.faults(),
        )  # fmt: skip
        outcome = pipeline.process(polled, bundle, NOW_MS)
        try:
            for record, (_, is_good, is_looked_at) in zip(outcome.records, batch, strict=True):
                _check(record, is_good=is_good, is_looked_at=is_looked_at)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, batch {batches}: {error}") from error
        done, scored, batches = done + len(batch), scored + outcome.scored, batches + 1
        yield {"records": done, "scored": scored, "rejected": done - scored}


def _draw(
    rng: random.Random, pool: list[bytes | None], offset: int
) -> tuple[RawMessage, bool, bool]:
    """A message, whether it must be scored, and whether its headers can be looked at."""
    is_good, is_looked_at = rng.random() < _GOOD_SHARE, True
    value: Any = rng.choice(pool)
    if not is_good:
        value = rng.choice([None, b"", b"{", rng.randbytes(40), value[:-1]])
        if rng.random() < _LARGE_SHARE:
            value = b"{" + b" " * rng.choice([MAX_RECORD_BYTES, OUTPUT_MAX_BYTES, 30_000_000])
    headers: RawHeaders = [(b"traceparent", b"00-1")] * rng.randint(0, 2)
    drawn = rng.random()
    if drawn < _NOT_UTF8_SHARE:
        name = rng.choice([b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"a\x00\xfe"])
        headers.insert(rng.randint(0, len(headers)), (name, rng.choice([None, b"x"])))
        is_looked_at = False
    elif drawn < _NOT_UTF8_SHARE + _MANY_SHARE:
        count = rng.choice([MAX_HEADERS, MAX_HEADERS + 1, 20_000])
        headers = [(b"", None)] * count
        is_looked_at = count <= MAX_HEADERS
    key = rng.choice([None, b"", b"13926", b"\xff" * 20])
    return RawMessage(offset, key, value, headers), is_good, is_looked_at


def _check(record: Outgoing, *, is_good: bool, is_looked_at: bool) -> None:
    expected = OUTPUT if is_good and is_looked_at else DLQ
    assert record.topic == expected, f"went to {record.topic} instead of {expected}"
    size = len(record.key or b"") + len(record.value or b"") + headers_size(record.headers)
    assert size <= OUTPUT_MAX_BYTES, f"an outcome of {size} bytes fits nowhere"
    has_said_so = OMITTED_HEADER in dict(record.headers)
    assert has_said_so == (not is_looked_at), "headers were left out without a word, or kept"
