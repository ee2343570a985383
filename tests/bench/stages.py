"""The time of a batch by stage, and throughput by batch size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas
from schemas.scores.sampling import MAX_SHARE, choose
from schemas.scores.writer import encode_scores
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.scoring import score
from stream_scorer.stream.ports import Outgoing
from tests.bench.contestants import World

BATCHES: Final = (20, 100, 500, 2000, 5000)
_REPETITIONS: Final = 9


def time_by_stage(world: World) -> dict[str, float]:
    """Microseconds per row of each stage for a whole batch; medians."""
    size = world.batch_size
    values, matrix = world.values[:size], world.matrix[:size]
    n = len(values)
    decoder = TransactionDecoder(LocalSchemas())
    batch = decoder.decode(values, [None] * n).batch
    scores = score(batch, world.bundle)
    head = prefix(schema_fingerprint(load_schema("fraud_score")), None)
    partitions, offsets = np.zeros(n, np.int32), np.arange(n, dtype=np.int64)

    def encode() -> list[bytes]:
        return encode_scores(
            head, batch, scores.scores, scores.decisions, scores.reasons, (0.5, 0.9), "v1", 1,
            "transactions", partitions, offsets,
        )  # fmt: skip

    encoded = encode()
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: decoder.decode(values, [None] * n),
        "features": lambda: world.bundle.features.transform(batch),
        "predict": lambda: world.bundle.predictor.raw(matrix),
        "encode": lambda: [Outgoing("t", 0, b"1", v, []) for v in encode()],
        "choosing the random lane": lambda: choose("transactions", partitions, offsets, MAX_SHARE),
    }
    del encoded
    found = {name: _median(run) / n * 1e6 for name, run in stages.items()}
    with_reasons = _median(lambda: score(batch, world.bundle)) / n * 1e6
    without = _median(lambda: score(batch, world.quiet)) / n * 1e6
    return found | {"reasons": with_reasons - without}


def throughput_by_batch(world: World, say: Callable[[str], None]) -> dict[int, float]:
    """Rows per second of the whole scorer by largest batch size."""
    kept, found = world.batch_size, {}
    for size in BATCHES:
        world.batch_size = size
        found[size] = statistics.median(world.whole_scorer() for _ in range(3))
        say(f"  batches of up to {size:>5,}: {found[size]:>9,.0f} rows/s")
    world.batch_size = kept
    return found


def _median(run: Callable[[], object]) -> float:
    run()
    took = []
    for _ in range(_REPETITIONS):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
