"""How the cost depends on compression, partitions, reloads, trees and fields."""

from __future__ import annotations

import io
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import fastavro
import numpy as np

from schemas.contracts import NUMBER_COLUMNS, TEXT_COLUMNS, load_schema, schema_fingerprint
from schemas.framing import SINGLE_OBJECT_MAGIC
from schemas.transactions.codec import TransactionDecoder, plain_types
from stream_scorer.cli.produce import produce_batches
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.model.bundle import build_files, load_bundle
from stream_scorer.model.forest.predictor import build_predictor
from stream_scorer.process.topics import wanted_topics
from tests.bench.contestants import World
from tests.bench.service import latency_by_condition
from tests.support.names import random_topics

_MANY_PARTITIONS: Final = 100
_RELOAD_SECONDS: Final = 6.0  # ten a minute
_LONG_ROWS: Final = 300_000
_FIELD_ROWS: Final = 500
_REPETITIONS: Final = 3


def explore(world: World, say: Callable[[str], None]) -> dict[str, Any]:
    """All measurements; rows per second of the whole scorer unless the name says otherwise."""
    found: dict[str, Any] = {}
    base = _median_rate(world)
    found["as the producer sends it (lz4), 12 partitions"] = round(base)
    for name, more, partitions in (
        ("uncompressed input", {"compression.type": "none"}, 12),
        (f"{_MANY_PARTITIONS} partitions", {}, _MANY_PARTITIONS),
    ):
        found[name] = round(_median_rate(_elsewhere(world, world.rows, partitions, more)))
        say(f"  {name}: {found[name]:,} rows/s")
    found |= _reloads(world, say)
    say("latency with fewer partitions, two workers, another broker …")
    return {
        "rows_by_condition": found,
        "latency_ms_by_condition": latency_by_condition(world),
        "predict_microseconds_by_trees": _by_trees(world),
        "decode_microseconds_by_fields": _by_fields(world),
    }


def _median_rate(world: World) -> float:
    return statistics.median(world.whole_scorer() for _ in range(_REPETITIONS))


def _elsewhere(world: World, rows: int, partitions: int, more: dict[str, str]) -> World:
    """The same world with a new input topic."""
    topics = random_topics()
    admin = open_admin(world.settings)
    create_topics(admin, wanted_topics(topics), partitions, 1)
    batches = [world.batch] * max(1, rows // len(world.batch))
    producer = open_producer(world.settings, **more)
    produce_batches(producer, topics.input_topic, batches)
    return replace(world, topics=topics, rows=sum(map(len, batches)))


def _reloads(world: World, say: Callable[[str], None]) -> dict[str, Any]:
    """A long run with and without ten reloads per minute."""
    model, rest = build_files(world.draft)
    files = {"model.pkl": model, **rest("v1")}
    began = time.perf_counter()
    load_bundle(files, "v1")
    once = time.perf_counter() - began
    long = _elsewhere(world, _LONG_ROWS, 12, {})
    without = long.whole_scorer()
    stop = threading.Event()

    def reload() -> None:
        while not stop.is_set():
            long.bundle = load_bundle(files, "v1")
            stop.wait(max(0.0, _RELOAD_SECONDS - once))

    thread = threading.Thread(target=reload)
    thread.start()
    beside = long.whole_scorer()
    stop.set()
    thread.join()
    say(f"  a reload takes {once:.2f} s; {without:,.0f} rows/s without, {beside:,.0f} with")
    return {
        "a long run": round(without),
        "the same with 10 reloads a minute": round(beside),
        "seconds of one reload": round(once, 2),
    }


def _by_trees(world: World) -> dict[str, float]:
    found = {}
    matrix = world.matrix[: world.batch_size]
    for trees in (100, 200, 400, 800):
        text = world.booster.model_to_string(num_iteration=trees)
        predictor = build_predictor(text)
        found[str(trees)] = round(_microseconds(lambda p=predictor: p.raw(matrix), len(matrix)), 2)  # type: ignore[misc]
    return found


def _by_fields(world: World) -> dict[str, float]:
    """Decoding alone, by the number of columns that the writer sends."""
    found = {}
    names = [*NUMBER_COLUMNS, *TEXT_COLUMNS]
    rows = [world.batch.row(i) for i in range(_FIELD_ROWS)]
    for share in (0.25, 0.5, 1.0):
        kept = {"TransactionAmt", *names[:: round(1 / share)]}
        schema = load_schema("transaction")
        fields = [
            f
            for f in schema["fields"]
            if f["name"] in kept or f["name"] in ("TransactionID", "TransactionDT")
        ]
        cut = {**schema, "fields": fields}
        values = [_written(cut, row) for row in rows]
        decoder = TransactionDecoder(_OneSchema(cut))
        headers = [None] * len(values)
        found[str(len(fields))] = round(
            _microseconds(lambda d=decoder, v=values, h=headers: d.decode(v, h), len(values)),  # type: ignore[misc]
            2,
        )
    return found


def _written(schema: Any, row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(SINGLE_OBJECT_MAGIC + schema_fingerprint(schema))
    parsed = fastavro.parse_schema(plain_types(schema))
    fastavro.schemaless_writer(out, parsed, {f["name"]: row[f["name"]] for f in schema["fields"]})
    return out.getvalue()


class _OneSchema:
    """A resolver that returns one schema for every id."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def by_id(self, schema_id: int) -> Any:
        """The schema."""
        del schema_id
        return self._schema

    def by_guid(self, guid: bytes) -> Any:
        """The schema."""
        del guid
        return self._schema

    def by_fingerprint(self, fingerprint: bytes) -> Any:
        """The schema."""
        del fingerprint
        return self._schema


def _microseconds(run: Callable[[], object], rows: int) -> float:
    run()
    took = []
    for _ in range(9):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return float(np.median(took)) / rows * 1e6
