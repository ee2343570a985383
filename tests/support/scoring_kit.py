"""Shared by tests of the pipeline and the loop: records, an in-memory cluster, an observer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import build_batch
from schemas.contracts import AMOUNT, NUMBER_INDEX, load_schema, schema_fingerprint
from schemas.framing import Headers, prefix
from schemas.records import decode_record
from schemas.resolver import LocalSchemas, SchemaResolver
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.forest.explained import Choose, Explained, explain_afterwards
from stream_scorer.model.forest.predictor import Predictor
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from stream_scorer.stream.outcome import Destinations, Outcome
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Polled
from tests.support.factories import make_batch, make_transaction

INPUT, OUTPUT, DLQ = "transactions", "fraud-scores", "transactions-dlq"
NOW_MS = 1_700_000_000_123
NEVER = 10**9  # values of ahead_from_records
ALWAYS = 1
SINGLE_OBJECT = prefix(schema_fingerprint(load_schema("fraud_score")), None)


def make_pipeline(
    resolver: SchemaResolver | None = None,
    max_bytes: dict[str, int] | None = None,
    sample_share: float = 0.0,
) -> Pipeline:
    """The scorer's pipeline without a registry."""
    return Pipeline(
        TransactionDecoder(resolver or LocalSchemas()),
        Destinations(OUTPUT, DLQ, SINGLE_OBJECT, max_bytes or {}, sample_share),
    )


def make_values(n: int, seed: int = 5) -> list[bytes | None]:
    """Records of valid transactions with ids 1 to n."""
    return list[bytes | None](encode_transactions(make_batch(n, seed)))


def make_value(number: int = 1, **fields: Any) -> bytes:
    """The record of one transaction."""
    return encode_transactions(build_batch([make_transaction(number, **fields)]))[0]


def make_polled(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Headers] | None = None,
    partitions: int = 3,
) -> Polled:
    """A poll that alternates between partitions, with offsets from 100 on."""
    n = len(values)
    return Polled(
        INPUT,
        values,
        keys or [str(1000 + i).encode() for i in range(n)],
        headers or [None] * n,
        np.arange(n, dtype=np.int32) % partitions,
        100 + np.arange(n, dtype=np.int64) // partitions,
        None,
    )


def read_score(value: bytes | None) -> dict[str, Any]:
    """A published score as a dictionary."""
    return decode_record("fraud_score", value)


@dataclass(frozen=True)
class RaisesFor:
    """A predictor that raises for one amount and otherwise delegates to another predictor."""

    inner: Predictor
    amount: float
    error: Exception = field(default_factory=lambda: ZeroDivisionError("marked amount"))

    @property
    def base(self) -> float:
        return self.inner.base

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        if (matrix[:, NUMBER_INDEX[AMOUNT]] == self.amount).any():
            raise self.error
        return self.inner.raw(matrix)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.inner.contributions(matrix)

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        return explain_afterwards(self.raw, self.contributions, matrix, choose)


def raising(bundle: Bundle, amount: float, error: Exception | None = None) -> Bundle:
    """The same bundle, except that scoring raises for a transaction of this amount."""
    predictor = RaisesFor(bundle.predictor, amount, *([error] if error else []))
    return replace(bundle, predictor=predictor)


@dataclass
class Seen:
    """An observer that records all events."""

    heartbeats: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def heartbeat(self) -> None:
        self.heartbeats += 1

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        assert len(polled) == len(outcome.records)
        assert seconds >= 0
        self.outcomes.append(outcome)

    def aborted(self, reason: str) -> None:
        self.reasons.append(reason)

    def timed(self, step: str, seconds: float) -> None:
        assert step in ("score", "publish", "commit")
        assert seconds >= 0


def fill(cluster: MemoryCluster, values: Sequence[bytes | None]) -> None:
    """Produce records to each partition in turn."""
    for i, value in enumerate(values):
        cluster.produce(i % cluster.partitions, Record(b"key", value))


def outcomes_by_source(cluster: MemoryCluster) -> Counter[tuple[int, int]]:
    """(partition, offset) of the input → its number of outcomes, scores and dead letters."""
    found: Counter[tuple[int, int]] = Counter()
    for partition, record in cluster.read(OUTPUT):
        source = read_score(record.value)["source"]
        assert source["partition"] == partition
        found[partition, source["offset"]] += 1
    for partition, record in cluster.read(DLQ):
        headers = dict(record.headers or ())
        offset = headers["__connect.errors.offset"]
        assert isinstance(offset, bytes)
        assert headers["__connect.errors.partition"] == str(partition).encode()
        found[partition, int(offset)] += 1
    return found


def inputs(cluster: MemoryCluster) -> Counter[tuple[int, int]]:
    """The expected ``outcomes_by_source``: every input once."""
    return Counter(
        (partition, offset)
        for (topic, partition), records in cluster.logs.items()
        if topic == cluster.topic
        for offset in range(len(records))
    )
