"""``python -m tests.bench.history --keys 1000000``: what card history costs, without a broker.

Times are of this thread's CPU. Every key of a space is in it before the steady steps, and keys are
random, which is as hard on the caches as it can be. The last line of standard output is a JSON
object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.batch import NO_EVENT_TIME, TransactionBatch, blank_batch, with_text
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from schemas.layout import Layout
from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.history import partition, table
from stream_scorer.features.history.partition import PartitionHistory, sort_records
from stream_scorer.features.history.spec import HistorySpec, read_space

PARTITIONS: Final = 12
TEXTS: Final = ("gmail.com", "yahoo.com", "hotmail.com", "anonymous.com", "a-long-domain.example")

_TIMES: Final[list[dict[str, Any]]] = [
    {"kind": kind, "group": "g"}
    for kind in ("count", "age", "gap", "mean_amount", "amount_ratio", "amount_z", "same_amount")
] + [
    {"kind": kind, "group": "g", "seconds": seconds}
    for kind, seconds in (
        ("decayed_count", [86_400, 604_800]),
        ("decayed_amount", [86_400, 604_800]),
        ("count_in", [3_600, 86_400, 604_800]),
        ("amount_in", [3_600, 86_400, 604_800]),
    )
]
_SETS: Final = [
    {
        "kind": kind,
        "group": "g",
        "columns": ["P_emaildomain", "R_emaildomain", "DeviceInfo", "addr1"],
    }
    for kind in ("distinct", "is_new")
]
_MEANS: Final = [
    {
        "kind": "minus_mean",
        "group": "g",
        "columns": [
            *("TransactionAmt", "D4", "D9", "D10", "D15", "C1", "C2", "C4..C14", "dist1"),
            *("V127", "V307", "V310", "V314", "V320"),
        ],
    }
]


def large_spec() -> HistorySpec:
    """Three key spaces with 91 features."""

    def space(name: str, key: Sequence[str], listed: list[dict[str, Any]], **fields: Any) -> Any:
        base = {"space": name, "version": 1, "key": list(key), "ttl_days": 180, "ring": 8}
        return read_space({**base, **fields, "features": listed})

    return HistorySpec(
        (
            space("client", ("card1", "addr1"), _TIMES + _MEANS + _SETS, start_day="D1"),
            space("card", ("card1", "card2", "card3", "card5"), _TIMES + _SETS),
            space("mail", ("card1", "P_emaildomain"), _TIMES),
        )
    )


class Stream:
    """Batches of a narrow layout; each card is one key in every space."""

    def __init__(self, spec: HistorySpec, keys: int, seed: int = 1) -> None:
        self.keys = keys
        self._rng = np.random.default_rng(seed)
        self._spec = spec
        self._layout = Layout([c for c in spec.columns if c in NUMBER_INDEX])
        self._lengths = np.array([len(text) for text in TEXTS], np.int32)
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        self._time = 10 * 86_400
        self._id = 0

    def batch(self, n: int, cards: NDArray[np.int64] | None = None) -> TransactionBatch:
        """``n`` transactions of some cards, random ones if none are given."""
        rng, batch = self._rng, blank_batch(n, self._layout)
        batch.ids[:] = np.arange(self._id, self._id + n)
        batch.times[:] = self._time + np.sort(rng.integers(0, 40, n))
        self._id, self._time = self._id + n, self._time + 40
        batch.event_times[:] = NO_EVENT_TIME
        numbers = batch.numbers
        numbers[:] = rng.integers(0, 50, numbers.shape)
        numbers[rng.random(numbers.shape) < 0.4] = np.nan
        cards = rng.integers(1, self.keys + 1, n) if cards is None else cards
        self._put(batch, "card1", cards)
        self._put(batch, "addr1", cards % 97)
        self._put(batch, "D1", cards % 300 + batch.times // 86_400)
        for place, column in enumerate(("card2", "card3", "card5")):
            self._put(batch, column, cards % (7 + place))
        self._put(batch, "TransactionAmt", np.round(rng.gamma(1.5, 80.0, n) + 0.3, 2))
        batch.starts[:], batch.lengths[:] = 0, -1
        for column in ("P_emaildomain", "R_emaildomain", "DeviceInfo"):
            which = cards % 5 if column == "P_emaildomain" else rng.integers(0, len(TEXTS), n)
            batch.starts[:, TEXT_INDEX[column]] = self._starts[which]
            batch.lengths[:, TEXT_INDEX[column]] = self._lengths[which]
        return with_text(batch, "".join(TEXTS).encode())

    def every_card(self, size: int) -> Iterator[TransactionBatch]:
        """Batches in which each card is once, in a random order."""
        cards = self._rng.permutation(self.keys) + 1
        for first in range(0, self.keys, size):
            part = cards[first : first + size]
            yield self.batch(len(part), part)

    def partition_of(self, batch: TransactionBatch) -> NDArray[np.int64]:
        """A partition for each row, by its card."""
        cards = batch.numbers[:, self._layout.at(NUMBER_INDEX["card1"])]
        return cards.astype(np.int64) % PARTITIONS

    def _put(self, batch: TransactionBatch, column: str, values: NDArray[Any]) -> None:
        if column in self._layout.columns:
            batch.numbers[:, self._layout.at(NUMBER_INDEX[column])] = values


class Timed:
    """Sums up the time of functions while it is open."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        for module, name in (
            (partition, "read_keys"),
            (table, "advance"),
            (table, "finish_step"),
        ):
            self._kept.append((module, name, getattr(module, name)))
            setattr(module, name, self._wrap(name, getattr(module, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, function in self._kept:
            setattr(module, name, function)

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.thread_time()
            result = function(*arguments)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - started
            return result

        return timed


def sweep(history: PartitionHistory, batches: Sequence[TransactionBatch]) -> float:
    """Microseconds a row of whole steps, as a loop makes them."""
    spent = 0.0
    for batch in batches:
        rows, advances, out = _arguments(history, batch)
        started = time.thread_time()
        history.settle(history.step(batch, rows, advances, out))
        spent += time.thread_time() - started
    return spent / sum(map(len, batches)) * 1e6


def _arguments(history: PartitionHistory, batch: TransactionBatch) -> tuple[Any, Any, Any]:
    n = len(batch)
    return np.arange(n), np.ones(n, np.bool_), np.empty((n, len(history.spec.names)))


def measure_steps(spec: HistorySpec, keys: int, size: int, repeats: int) -> dict[str, Any]:
    """One partition with all keys: growing, steady, its parts, rollback, peek and memory."""
    before = resident_bytes()
    stream, history = Stream(spec, keys), PartitionHistory(spec)
    growing = [sweep(history, [batch]) for batch in stream.every_card(size)]
    steady = [sweep(history, [stream.batch(size)]) for _ in range(repeats)]
    with Timed() as timed:
        sweep(history, [stream.batch(size) for _ in range(repeats)])
    rows = repeats * size
    rollback, peek = 0.0, 0.0
    for _ in range(repeats):
        batch = stream.batch(size)
        undo = history.step(batch, *_arguments(history, batch))
        started = time.thread_time()
        history.rollback(undo)
        rollback += time.thread_time() - started
        places, _, out = _arguments(history, batch)
        started = time.thread_time()
        history.peek(batch, places, out)
        peek += time.thread_time() - started
    sizes = history.sizes()
    return {
        "step_us": round(statistics.median(steady), 2),
        "step_us_while_growing": round(statistics.mean(growing[1:]), 2),
        "read_keys_us": round(timed.seconds["read_keys"] / rows * 1e6, 2),
        "advance_us": round(timed.seconds["advance"] / rows * 1e6, 2),
        "check_sum_us": round(timed.seconds["finish_step"] / rows * 1e6, 2),
        "rollback_us": round(rollback / rows * 1e6, 2),
        "peek_us": round(peek / rows * 1e6, 2),
        "keys": dict(sizes.keys),
        "bytes_per_key": round(sizes.nbytes / max(1, sum(sizes.keys.values()))),
        "megabytes": round(sizes.nbytes / 1e6, 1),
        "resident_megabytes": round((resident_bytes() - before) / 1e6, 1),
    }


def resident_bytes() -> int:
    """The memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure_runs(spec: HistorySpec, keys: int, repeats: int) -> dict[str, Any]:
    """Batches over 12 partitions, and one of them as a snapshot would take it."""
    stream = Stream(spec, keys)
    histories = [PartitionHistory(spec) for _ in range(PARTITIONS)]
    for batch in stream.every_card(20_000):
        _step_all(stream, histories, batch)
    found: dict[str, Any] = {}
    for size in (2_000, 60, PARTITIONS):
        spent = [_step_all(stream, histories, stream.batch(size)) for _ in range(repeats)]
        found[f"batch_of_{size}_in_{PARTITIONS}_runs_us"] = round(statistics.median(spent) * 1e6)
    return found | measure_records(spec, histories[0])


def _step_all(
    stream: Stream, histories: Sequence[PartitionHistory], batch: TransactionBatch
) -> float:
    of_row = stream.partition_of(batch)
    runs = [np.flatnonzero(of_row == number) for number in range(PARTITIONS)]
    _, advances, out = _arguments(histories[0], batch)
    started = time.thread_time()
    steps = [
        (history, history.step(batch, rows, advances, out))
        for history, rows in zip(histories, runs, strict=True)
        if len(rows)
    ]
    for history, undo in steps:
        history.settle(undo)
    return time.thread_time() - started


def measure_records(spec: HistorySpec, history: PartitionHistory) -> dict[str, Any]:
    """Copy, sort and restore one partition; only the copy stops a loop."""
    figures: dict[str, list[float]] = {"copy_ms": [], "sort_ms": [], "restore_ms": []}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.thread_time()
        result = work()
        figures[name].append((time.thread_time() - started) * 1e3)
        return result

    for _ in range(5):
        copied = timed("copy_ms", history.copy)
        records = timed("sort_ms", partial(sort_records, copied))
        timed("restore_ms", partial(PartitionHistory.restore, spec, records))
    size = sum(words.nbytes for words in records.spaces.values())
    found: dict[str, Any] = {name: round(min(times), 1) for name, times in figures.items()}
    return {"partition_megabytes": round(size / 1e6, 1), **found}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys in each space")
    parser.add_argument("--batch", type=int, default=2_000, help="rows of a batch")
    parser.add_argument("--repeats", type=int, default=200, help="batches that are measured")
    parser.add_argument("--program", help="a built-in program with card history")
    arguments = parser.parse_args()
    spec = large_spec()
    if arguments.program is not None:
        named = load_builtin(arguments.program).history
        if named is None:
            parser.error(f"program {arguments.program} has no card history")
        spec = named
    keys, size, repeats = arguments.keys, arguments.batch, arguments.repeats
    Stream(spec, size).batch(1)
    sweep(PartitionHistory(spec), [Stream(spec, size).batch(size)])  # compiles
    _say(f"{len(spec.names)} features, {keys:,} keys in each of {len(spec.spaces)} spaces")
    figures = {"all": measure_steps(spec, keys, size, repeats)}
    _say(f"  all: {figures['all']}")
    if len(spec.spaces) > 1:
        for space in spec.spaces:
            figures[space.name] = measure_steps(HistorySpec((space,)), keys, size, repeats)
            _say(f"  {space.name}: {figures[space.name]}")
    report = {"keys": keys, "batch": size, "features": len(spec.names), "steps": figures}
    report["partitions"] = measure_runs(spec, keys, repeats)
    _say(f"  {PARTITIONS} partitions: {report['partitions']}")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
