"""Requests that read a history while it is advanced see one state of it, and know which."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.history.partitions import STEP_ROWS, LoadedPartition
from schemas.batch import TransactionBatch, build_batch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.state.inputs import InputRows
from tests.support.history.scored_stream import NOW, make_rows
from tests.support.history.small_spec import DAY, SPEC
from tests.support.waiting import wait_until

INPUTS = 6000


def in_one_day(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The transactions, a second after another; those of a client stay those of a client."""
    for second, row in enumerate(rows):
        row["TransactionDT"] = 10 * DAY + second
        row["D1"] = 10.0 - row["card1"] % 3
    return rows


PROBES = build_batch(in_one_day(make_rows(INPUTS + 20))[INPUTS:])
ROWS = np.arange(len(PROBES), dtype=np.int64)


def as_inputs(batch: TransactionBatch, first: int = 0) -> InputRows:
    """A batch as the inputs from an offset on; every fifth offset holds none."""
    n = len(batch)
    offsets = first + np.arange(n, dtype=np.int64) * 5 // 4
    return InputRows(0, offsets, batch, np.ones(n, np.bool_), int(offsets[-1]) + 4)


def peeked(history: PartitionHistory) -> NDArray[np.float64]:
    out = np.empty((len(PROBES), len(SPEC.names)))
    history.peek(PROBES, ROWS, out)
    return out


def states(found: InputRows) -> dict[int, bytes]:
    """The features of the probes after each step, by the offset that is next."""
    history = PartitionHistory(SPEC)
    known = {0: peeked(history).tobytes()}
    for last in [*range(STEP_ROWS, len(found), STEP_ROWS), len(found)]:
        rows = np.arange(max(0, (last - 1) // STEP_ROWS * STEP_ROWS), last, dtype=np.int64)
        undo = history.step(
            found.batch, rows, found.advances, np.empty((len(found), len(SPEC.names)))
        )
        history.settle(undo)
        at = int(found.offsets[last]) if last < len(found) else found.next_offset
        known[at] = peeked(history).tobytes()
    return known


def test_readers_see_whole_states_while_the_history_is_advanced() -> None:
    # Every other transaction is of a new client, so that the tables grow all the time.
    rows = in_one_day(make_rows(INPUTS))
    for i, row in enumerate(rows[::2]):
        row["addr1"] = 1000.0 + i
    found = as_inputs(build_batch(rows))
    known = states(found)
    one = LoadedPartition(0, "era", PartitionHistory(SPEC), 0, NOW, -1)
    seen: list[tuple[int, bytes]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            out = np.empty((len(PROBES), len(SPEC.names)))
            stamp = one.peek(PROBES, ROWS, out)
            seen.append((stamp.offset, out.tobytes()))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        wait_until(lambda: len(seen) > 3, what="readers")
        one.advance(found)
        count = len(seen)
        wait_until(lambda: len(seen) > count + 3, what="readers of the last state")
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert {offset for offset, _ in seen} >= {0, found.next_offset}
    assert [offset for offset, values in seen if known[offset] != values] == []
    assert len(set(known.values())) == len(known)  # no two states look alike


def test_advance_counts_offsets_without_an_input() -> None:
    found = as_inputs(build_batch(make_rows(10)), 100)
    one = LoadedPartition(0, "era", PartitionHistory(SPEC), 100, NOW, -1)
    one.advance(found)
    assert one.offset == found.next_offset == 115
