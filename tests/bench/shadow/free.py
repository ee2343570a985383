"""What a challenger costs beside a processor that is free: ``python -m tests.bench.shadow.free``.

The champion's loop is bound to one processor and the challenger's process to another, so that they
share the memory and nothing else. The loop reads batches in memory; with ``--publish`` it publishes
its scores to a broker of librdkafka's own, in threads beside it. The challenger publishes to
another. In turn, in many short rounds, the loop is alone, beside the challenger, and beside a
stranger: a loop like it, of another process, with which it has nothing to do. What that costs is
the price of a busy neighbour on this machine: processors share a cache and the way to the memory.
As root all of it has real-time priority: otherwise a busy machine has no free processor to measure
with. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, cast

import numpy as np
from confluent_kafka import Producer

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.cli.run import SWITCH_SECONDS
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.model.bundle import Bundle, Draft, build_files, load_bundle
from stream_scorer.shadow.observing import ShadowingObserver
from stream_scorer.shadow.worker import ShadowOptions, ShadowWorker
from stream_scorer.stream.loop import LoopOptions, Observer, ScorerLoop
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import NO_MARKS, Broker, Marks, NoHistories, Outgoing, Polled
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.bench.contestants import synthetic_rows, train_draft
from tests.bench.shadow.pinned import CHALLENGER_CPU, CHAMPION_CPU, open_mock_producer, pin
from tests.bench.shadow.runs import RowCounter, Seen, start_challenger

Neighbour = Literal["none", "challenger", "stranger"]

_BATCHES: Final = 10
_BATCH: Final = 2000
_IDLE_SECONDS: Final = 30.0
_OTHERS_SECONDS: Final = 0.05
_PROGRAM: Final = "tests.bench.shadow.pinned"
_NEIGHBOURS: Final[tuple[Neighbour, ...]] = ("none", "challenger", "stranger")


class RingBroker:
    """Delivers the same batches again and again."""

    def __init__(self, polls: Sequence[Polled], producer: Producer | None) -> None:
        self._polls = polls
        self._producer = producer
        self._next = 0

    def poll(self, max_records: int, timeout: float) -> Polled:
        """The next batch."""
        del max_records, timeout
        self._next = (self._next + 1) % len(self._polls)
        return self._polls[self._next]

    def rewind(self, *batches: Polled) -> None:
        """Nothing fails."""
        raise AssertionError(f"{len(batches)} batches are read again")

    def begin(self) -> RingBroker:
        """It is its own transaction."""
        return self

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce and flush, as a transaction does."""
        if self._producer is not None:
            for topic, _, key, value, headers in records:
                self._producer.produce(topic, value, key, 0, headers=headers)
            self._producer.flush()

    def commit(self, polled: Polled, marks: Marks = NO_MARKS) -> None:
        """There are no offsets."""

    def abort(self, *polled: Polled) -> None:
        """Nothing fails."""
        self.rewind(*polled)

    def assigned(self) -> frozenset[int]:
        """One partition."""
        return frozenset({0})

    def held(self) -> frozenset[int]:
        """None of them waits."""
        return frozenset()


class Scene:
    """A loop, and a challenger that is beside it or not."""

    def __init__(self, draft: Draft, bundle: Bundle, values: list[bytes], *, publish: bool) -> None:
        self._folder = TemporaryDirectory()
        self.seen, self.events = RowCounter(), Seen()
        self.challenger = start_challenger(
            Path(self._folder.name), draft, 1, 1.0, _PROGRAM, is_yielding=True
        )
        self.is_alone_before_others = pin(CHAMPION_CPU)
        producer = open_mock_producer(CHAMPION_CPU) if publish else None
        pipeline = make_pipeline()
        self.worker = ShadowWorker(ShadowOptions(), self.events)
        self.worker.use(self.challenger)
        (thread,) = (one for one in threading.enumerate() if one.name == "shadow")
        assert thread.native_id is not None
        pin(CHALLENGER_CPU, thread.native_id)
        self._stranger = Stranger()
        self.is_on = False
        pipeline.keep_basis_if(lambda: self.is_on and self.worker.wants())
        observer = ShadowingObserver(self.seen, self.worker)
        vars(observer)["committed"] = self._committed
        self._loop = make_loop(RingBroker(_polls(values), producer), pipeline, bundle, observer)

    def _committed(self, polled: Polled, outcome: object, seconds: float) -> None:
        self.seen.committed(polled, outcome, seconds)  # type: ignore[arg-type]  # is not read
        if self.is_on:
            self.worker.offer(polled, outcome)  # type: ignore[arg-type]  # as it came

    def run(self, rows: int, neighbour: Neighbour) -> tuple[float, float]:
        """Rows a second, and the share of them that the challenger scored."""
        # Linux lets others run for a twentieth of each second, whatever has priority: now.
        time.sleep(_OTHERS_SECONDS)
        self.is_on = neighbour == "challenger"
        if neighbour == "stranger":
            self._stranger.go_on()
        shadow, warm = self.events.rows, -self.seen.rows
        for _ in range(2):
            self._loop.run_once()
        before = self.seen.rows
        warm += before
        begun = time.perf_counter()
        while self.seen.rows - before < rows:
            self._loop.run_once()
        seconds = time.perf_counter() - begun
        done = self.seen.rows - before
        self.is_on = False
        if neighbour == "stranger":
            self._stranger.pause()
        assert self.worker.wait_idle(_IDLE_SECONDS)
        return done / seconds, (self.events.rows - shadow) / (done + warm)

    def close(self) -> None:
        """End the neighbours."""
        self._stranger.close()
        self.worker.stop()
        self._folder.cleanup()


class Stranger:
    """A loop of another process, on the challenger's processor; it is paused at first."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.shadow.stranger"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._await()

    def go_on(self) -> None:
        """Let it score."""
        self._write(b"g")
        self._await()

    def pause(self) -> None:
        """Let it wait."""
        self._write(b"p")
        self._await()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _write(self, word: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word)
        self._process.stdin.flush()

    def _await(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.read(1) == b"."


def make_scene(trees: int = 200, leaves: int = 63) -> tuple[Draft, Bundle, list[bytes]]:
    """A model, and the records of some batches."""
    stream, _ = synthetic_rows(_BATCHES * _BATCH, 21)
    draft = train_draft(load_builtin(IEEE_CIS), trees, leaves, stream)
    model, rest = build_files(draft)
    bundle = load_bundle({"model.pkl": model, **rest("v1")}, "v1")
    return draft, bundle, encode_transactions(stream)


def make_pipeline() -> Pipeline:
    """Decodes and scores."""
    head = prefix(schema_fingerprint(load_schema("fraud_score")), None)
    return Pipeline(TransactionDecoder(LocalSchemas()), Destinations("scores", "dead", head, {}))


def make_loop(
    broker: RingBroker, pipeline: Pipeline, bundle: Bundle, observer: Observer
) -> ScorerLoop:
    """A loop that scores with one model."""
    return ScorerLoop(
        cast("Broker", broker),
        pipeline,
        NoHistories(lambda: bundle),
        RejectionGuard(RejectionPolicy()),
        observer,
        LoopOptions(_BATCH, 0.0),
    )


def make_broker(values: list[bytes]) -> RingBroker:
    """Delivers these records, and publishes nothing."""
    return RingBroker(_polls(values), None)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shadow.free", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--rows", type=int, default=10_000, help="a round")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=63)
    parser.add_argument("--publish", action="store_true", help="the loop publishes its scores")
    args = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)  # as the scorer process does
    scene = Scene(*make_scene(args.trees, args.leaves), publish=args.publish)
    found: dict[Neighbour, list[tuple[float, float]]] = {one: [] for one in _NEIGHBOURS}
    for number in range(args.rounds + 1):
        shift = number % len(_NEIGHBOURS)
        for neighbour in _NEIGHBOURS[shift:] + _NEIGHBOURS[:shift]:
            one = scene.run(args.rows, neighbour)
            if number:  # the first round warms up
                found[neighbour].append(one)
    scene.close()
    rates = {neighbour: [rate for rate, _ in runs] for neighbour, runs in found.items()}
    shares = [share for _, share in found["challenger"]]
    report = {
        "real_time": scene.is_alone_before_others,
        "rows_a_second_alone": round(statistics.median(rates["none"])),
        "challenger": _ratios(rates["challenger"], rates["none"]),
        "stranger": _ratios(rates["stranger"], rates["none"]),
        "challenger_beside_stranger": _ratios(rates["challenger"], rates["stranger"]),
        "scored_in_shadow": round(statistics.median(shares), 3),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _ratios(rates: list[float], others: list[float]) -> dict[str, float]:
    return {
        "of_pairs": round(statistics.median(a / b for a, b in zip(rates, others, strict=True)), 4),
        "of_medians": round(statistics.median(rates) / statistics.median(others), 4),
        "of_fastest_tenth": round(
            float(np.quantile(rates, 0.9)) / float(np.quantile(others, 0.9)), 4
        ),
    }


def _polls(values: list[bytes]) -> list[Polled]:
    keys = [b"%d" % (row % 997) for row in range(_BATCH)]
    return [
        Polled(
            "transactions",
            values[first : first + _BATCH],
            keys,
            [None] * _BATCH,
            np.zeros(_BATCH, np.int32),
            np.arange(first, first + _BATCH, dtype=np.int64),
            None,
        )
        for first in range(0, len(values), _BATCH)
    ]


if __name__ == "__main__":
    sys.exit(main())
