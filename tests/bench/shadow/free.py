"""What a challenger costs beside a processor that is free: ``python -m tests.bench.shadow.free``.

The champion's loop is bound to one processor and the challenger's process to another, so that they
share the memory and nothing else. The loop reads batches in memory; with ``--publish`` it publishes
its scores to a broker of librdkafka's own, in threads beside it. The challenger publishes to
another. It is on and off in turn, in many short rounds. As root all of it has real-time priority:
otherwise a busy machine has no free processor to measure with. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

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
from stream_scorer.stream.loop import LoopOptions, ScorerLoop
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import NO_MARKS, Broker, Marks, NoHistories, Outgoing, Polled
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.bench.contestants import synthetic_rows, train_draft
from tests.bench.shadow.pinned import CHALLENGER_CPU, CHAMPION_CPU, open_mock_producer, pin
from tests.bench.shadow.runs import RowCounter, Seen, start_challenger

_BATCHES: Final = 10
_BATCH: Final = 2000
_IDLE_SECONDS: Final = 30.0
_OTHERS_SECONDS: Final = 0.05
_PROGRAM: Final = "tests.bench.shadow.pinned"


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
        head = prefix(schema_fingerprint(load_schema("fraud_score")), None)
        pipeline = Pipeline(
            TransactionDecoder(LocalSchemas()), Destinations("scores", "dead", head, {})
        )
        self.worker = ShadowWorker(ShadowOptions(), self.events)
        self.worker.use(self.challenger)
        (thread,) = (one for one in threading.enumerate() if one.name == "shadow")
        assert thread.native_id is not None
        pin(CHALLENGER_CPU, thread.native_id)
        self.is_on = False
        pipeline.keep_basis_if(lambda: self.is_on and self.worker.wants())
        observer = ShadowingObserver(self.seen, self.worker)
        vars(observer)["committed"] = self._committed
        self._loop = ScorerLoop(
            cast("Broker", RingBroker(_polls(values), producer)),
            pipeline,
            NoHistories(lambda: bundle),
            RejectionGuard(RejectionPolicy()),
            observer,
            LoopOptions(_BATCH, 0.0),
        )

    def _committed(self, polled: Polled, outcome: object, seconds: float) -> None:
        self.seen.committed(polled, outcome, seconds)  # type: ignore[arg-type]  # is not read
        if self.is_on:
            self.worker.offer(polled, outcome)  # type: ignore[arg-type]  # as it came

    def run(self, rows: int, *, is_on: bool) -> tuple[float, float]:
        """Rows a second, and the share of them that the challenger scored."""
        # Linux lets others run for a twentieth of each second, whatever has priority: now.
        time.sleep(_OTHERS_SECONDS)
        self.is_on = is_on
        for _ in range(2):
            self._loop.run_once()
        before, shadow = self.seen.rows, self.events.rows
        begun = time.perf_counter()
        while self.seen.rows - before < rows:
            self._loop.run_once()
        seconds = time.perf_counter() - begun
        done = self.seen.rows - before
        self.is_on = False
        share = (self.events.rows - shadow) / done
        assert self.worker.wait_idle(_IDLE_SECONDS)
        return done / seconds, share

    def close(self) -> None:
        """End the challenger."""
        self.worker.stop()
        self._folder.cleanup()


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
    stream, _ = synthetic_rows(_BATCHES * _BATCH, 21)
    draft = train_draft(load_builtin(IEEE_CIS), args.trees, args.leaves, stream)
    model, rest = build_files(draft)
    bundle = load_bundle({"model.pkl": model, **rest("v1")}, "v1")
    scene = Scene(draft, bundle, encode_transactions(stream), publish=args.publish)
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(args.rounds + 1):
        for is_on in (False, True) if number % 2 else (True, False):
            one = scene.run(args.rows, is_on=is_on)
            if number:  # the first round warms up
                found[is_on].append(one)
    scene.close()
    alone, beside = ([rate for rate, _ in found[is_on]] for is_on in (False, True))
    report = {
        "real_time": scene.is_alone_before_others,
        "rows_a_second_alone": round(statistics.median(alone)),
        "rows_a_second_beside": round(statistics.median(beside)),
        "ratio_of_pairs": round(
            statistics.median(b / a for a, b in zip(alone, beside, strict=True)), 4
        ),
        "ratio_of_medians": round(statistics.median(beside) / statistics.median(alone), 4),
        "ratio_of_fastest_tenth": round(
            float(np.quantile(beside, 0.9)) / float(np.quantile(alone, 0.9)), 4
        ),
        "scored_in_shadow": round(statistics.median(share for _, share in found[True]), 3),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


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
