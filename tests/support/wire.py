"""Wire-level helpers for the tests of ``schemas``: resolvers, framing, the reference codec."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import (
    AMOUNT,
    MAX_TIME_SECONDS,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    AvroSchema,
    load_schema,
)
from schemas.resolver import LocalSchemas, UnknownSchema
from schemas.writer_schema import plain_types

FAST = settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,  # the same examples in every run
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

INT64 = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1e308])


@dataclass
class FixedResolver:
    """A registry in memory: schemas by id and by GUID, our own by fingerprint."""

    ids: Mapping[int, AvroSchema] = field(default_factory=dict)
    guids: Mapping[bytes, AvroSchema] = field(default_factory=dict)

    def by_id(self, schema_id: int) -> AvroSchema:
        if schema_id not in self.ids:
            raise UnknownSchema(f"schema id {schema_id} is unknown")
        return self.ids[schema_id]

    def by_guid(self, guid: bytes) -> AvroSchema:
        if guid not in self.guids:
            raise UnknownSchema(f"schema GUID {guid.hex()} is unknown")
        return self.guids[guid]

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        return LocalSchemas().by_fingerprint(fingerprint)


def confluent(schema_id: int, body: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def write_body(schema: AvroSchema, record: Mapping[str, Any]) -> bytes:
    """A record's Avro body by the reference encoder."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain_types(schema)), dict(record))
    return out.getvalue()


def read_body(body: bytes, writer: AvroSchema, contract: str = "transaction") -> dict[str, Any]:
    """A body resolved to our schema by the reference decoder; it must be read to its end.

    The reader's record has the writer's name, which the reference compares and we do not.
    """
    source = io.BytesIO(body)
    parsed = fastavro.parse_schema(plain_types(writer))
    ours = {**plain_types(load_schema(contract)), "name": parsed["name"], "namespace": ""}
    ours = fastavro.parse_schema(ours)
    record = fastavro.schemaless_reader(source, parsed, ours)
    assert not source.read(1)
    assert isinstance(record, dict)
    return record


def same(one: TransactionBatch, other: TransactionBatch) -> bool:
    """Whether two batches hold the same rows, bit for bit; where strings lie does not matter."""
    missing = np.isnan(one.numbers)
    return (
        np.array_equal(one.ids, other.ids)
        and np.array_equal(one.times, other.times)
        and np.array_equal(one.event_times, other.event_times)
        and np.array_equal(missing, np.isnan(other.numbers))
        and np.array_equal(
            one.numbers[~missing].view(np.uint64), other.numbers[~missing].view(np.uint64)
        )
        and np.array_equal(one.lengths, other.lengths)
        and _strings(one) == _strings(other)
    )


def _strings(batch: TransactionBatch) -> list[str | None]:
    rows, columns = np.nonzero(batch.lengths >= 0)
    return [batch.string(int(r), int(c)) for r, c in zip(rows, columns, strict=True)]


def reference_batch(bodies: list[bytes], writer: AvroSchema) -> TransactionBatch:
    return build_batch([read_body(body, writer) for body in bodies])


@st.composite
def transactions(draw: st.DrawFn, max_columns: int = 6) -> dict[str, Any]:
    """A valid transaction with a few columns, with every awkward value of their types."""
    numbers = st.dictionaries(
        st.sampled_from([n for n in NUMBER_COLUMNS if n != AMOUNT]),
        FINITE | st.none() | st.just(math.nan),
        max_size=max_columns,
    )
    text = st.dictionaries(
        st.sampled_from(TEXT_COLUMNS), st.text(max_size=8) | st.none(), max_size=max_columns
    )
    return {
        "TransactionID": draw(INT64),
        "TransactionDT": draw(st.integers(0, MAX_TIME_SECONDS)),
        "TransactionAmt": draw(FINITE),
        "event_time": draw(st.none() | st.integers(-(2**63) + 1, 2**63 - 1)),
        **draw(numbers),
        **draw(text),
    }
