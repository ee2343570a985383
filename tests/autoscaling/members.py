"""How much additional members help, with even load and with a hot partition.

Two cores cannot run four pods at full speed, so each member gets a share of the time: it is stopped
and continued, like a container at its CPU limit. Members run one after the other, so that they do
not compete for the cores; the sum of their shares must stay below 1.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from stream_scorer.autoscaling.group import Group
from stream_scorer.runtime.settings import KafkaSettings
from tests.autoscaling.scene import (
    PARTITIONS,
    LagReader,
    Scene,
    fill,
    make_values,
    open_broker,
    open_scene,
)

_PERIOD_SECONDS = 0.2  # long compared with the scheduling delay of a busy machine
_LIMIT_SECONDS = 180.0


def measure_members(
    rows: int,
    members: Sequence[int],
    hot_share: float,
    cpu_share: float,
    repetitions: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Rows per second by load and members, each with the simulator's result.

    Raises:
        ValueError: the sum of the members' shares is 1 or more.
    """
    if cpu_share * max(members) >= 1:
        raise ValueError(f"{max(members)} members cannot have {cpu_share:g} of the time each")
    values = make_values()
    found: dict[str, Any] = {"rows": rows, "hot_share": hot_share, "cpu_share": cpu_share}
    with open_broker() as settings:
        for name, share in (("even", None), ("hot", hot_share)):
            found[name] = {}
            for count in members:
                sizes = _sizes(rows, share)
                runs = [
                    _measure(settings, values, sizes, count, cpu_share) for _ in range(repetitions)
                ]
                found[name][str(count)] = {
                    "rows_a_second": round(median(runs)),
                    "all": [round(run) for run in runs],
                }
                say(f"{name:<5} {count} members: {found[name][str(count)]}")
    one = found["even"][str(members[0])]["rows_a_second"] / members[0]
    for name, share in (("even", None), ("hot", hot_share)):
        for count in members:
            found[name][str(count)]["simulated"] = _simulated(rows, share, count, one)
    return found


def _sizes(rows: int, hot_share: float | None) -> list[int]:
    hot = rows // PARTITIONS if hot_share is None else round(rows * hot_share)
    return [hot, *[(rows - hot) // (PARTITIONS - 1)] * (PARTITIONS - 1)]


def _measure(
    settings: KafkaSettings,
    values: Sequence[bytes],
    sizes: Sequence[int],
    count: int,
    cpu_share: float,
) -> float:
    with open_scene(settings, KAFKA_SESSION_TIMEOUT_MS="20000") as scene:
        for _ in range(count):
            scene.fleet.start()
        scene.wait_for_members(count)
        warm = [50] * PARTITIONS
        fill(scene, values, warm)
        reader = LagReader(scene)
        _wait_for(reader, warm)
        for scorer in scene.fleet.scorers:
            scorer.process.send_signal(signal.SIGSTOP)
        fill(scene, values, sizes)
        with _limited(scene, cpu_share):
            began = time.monotonic()
            _wait_for(reader, [a + b for a, b in zip(warm, sizes, strict=True)])
            seconds = time.monotonic() - began
        reader.close()
    return sum(sizes) / seconds


def _wait_for(reader: LagReader, ends: Sequence[int]) -> None:
    """Wait until everything is committed."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while True:
        committed = reader.committed()
        # At least, because a commit marker may follow the last record.
        if all(done >= end for done, end in zip(committed, ends, strict=True)):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"still at {committed} of {ends}")
        time.sleep(0.05)


@contextmanager
def _limited(scene: Scene, share: float) -> Any:
    """Let one scorer after the other run for ``share`` of the time; all run freely afterwards."""
    over = threading.Event()
    processes = [scorer.process for scorer in scene.fleet.scorers]
    rest = _PERIOD_SECONDS * (1 - share * len(processes))

    def alternate() -> None:
        while not over.is_set():
            for process in processes:
                process.send_signal(signal.SIGCONT)
                time.sleep(_PERIOD_SECONDS * share)
                process.send_signal(signal.SIGSTOP)
            time.sleep(rest)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for process in processes:
            process.send_signal(signal.SIGCONT)


def _simulated(rows: int, hot_share: float | None, count: int, capacity: float) -> int:
    """Rows per second of the simulator's group, given the capacity of one member."""
    group = Group(PARTITIONS, capacity, 0.0, hot_share)
    group.resize(0.0, count)
    group.arrive(0.0, rows)
    now, step = 0.0, 0.05
    while sum(group.lags):
        group.work(now, now + step)
        now += step
    return round(rows / now)
