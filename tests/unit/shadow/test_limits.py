"""How much memory and which processors a challenger gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.shadow import limits
from stream_scorer.shadow.limits import Memory, SpareProcessor, memory_for_challenger

MIB = 1024 * 1024


class Machine:
    """What the system counts, and a clock."""

    def __init__(self) -> None:
        self.now, self.waited, self.throttled = 0.0, 0.0, 0
        self.processor = SpareProcessor(
            lambda: self.waited, lambda: self.throttled, lambda: self.now
        )

    def after(self, seconds: float, waited: float = 0.0, throttled: int = 0) -> bool:
        self.now += seconds
        self.waited += waited
        self.throttled += throttled
        return self.processor.is_free()


def test_processor_is_free_while_the_loop_hardly_waits_for_one() -> None:
    machine = Machine()
    assert machine.after(0)
    assert all(machine.after(1, waited=0.04) for _ in range(60))


@pytest.mark.parametrize("sign", [{"waited": 0.06}, {"throttled": 1}])
def test_waiting_or_throttled_loop_is_left_alone_for_ten_seconds(sign: dict[str, int]) -> None:
    machine = Machine()
    machine.after(0)
    assert not machine.after(1, **sign)
    assert [machine.after(1) for _ in range(10)] == [False] * 9 + [True]


def test_pause_lasts_as_long_as_the_loop_waits_and_doubles_when_it_was_too_short() -> None:
    machine = Machine()
    machine.after(0)
    assert not any(machine.after(1, waited=0.5) for _ in range(30))
    pauses = []
    for _ in range(7):
        waited = 0
        while not machine.after(1):
            waited += 1
        pauses.append(waited)
        assert not machine.after(1, waited=0.5)  # let in again, and the loop waits at once
    assert pauses == [9, 19, 39, 79, 159, 299, 299]
    while not machine.after(1):
        pass
    assert all(machine.after(1) for _ in range(20))
    assert not machine.after(1, waited=0.5)
    assert [machine.after(1) for _ in range(10)] == [False] * 9 + [True]


def test_looks_once_a_second_at_most() -> None:
    machine = Machine()
    machine.after(0)
    assert machine.after(0.9, waited=0.9)
    assert not machine.after(0.1)


def test_challenger_gets_what_the_scorer_never_needed() -> None:
    assert memory_for_challenger(None, 300 * MIB) == 512 * MIB
    assert memory_for_challenger(Memory(2048 * MIB, 300 * MIB), 700 * MIB) == 512 * MIB
    assert memory_for_challenger(Memory(1024 * MIB, 300 * MIB), 400 * MIB) == 496 * MIB
    assert memory_for_challenger(Memory(1024 * MIB, 600 * MIB), 400 * MIB) == 0
    assert memory_for_challenger(Memory(1024 * MIB, 300 * MIB), 700 * MIB) == 0


def test_containers_of_both_kinds_state_their_memory(tmp_path: Path) -> None:
    assert limits.read_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("1073741824\n")
    (tmp_path / "memory.current").write_text("500000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000000\nactive_file 7\n")
    assert limits.read_memory(tmp_path) == Memory(1073741824, 400000000)
    (tmp_path / "memory.max").write_text("max\n")
    assert limits.read_memory(tmp_path) is None
    older = tmp_path / "older" / "memory"
    older.mkdir(parents=True)
    (older / "memory.limit_in_bytes").write_text("1073741824\n")
    (older / "memory.usage_in_bytes").write_text("300\n")
    (older / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 100\n")
    assert limits.read_memory(tmp_path / "older") == Memory(1073741824, 200)
    (older / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert limits.read_memory(tmp_path / "older") is None


def test_throttled_periods_are_read_of_both_kinds(tmp_path: Path) -> None:
    assert limits.times_throttled(tmp_path) == 0
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.stat").write_text("nr_periods 9\nnr_throttled 3\n")
    assert limits.times_throttled(tmp_path) == 3
    (tmp_path / "cpu.stat").write_text("usage_usec 1\nnr_throttled 5\nthrottled_usec 100\n")
    assert limits.times_throttled(tmp_path) == 5


def test_waiting_of_this_thread_never_falls() -> None:
    before = limits.seconds_waited()
    assert limits.seconds_waited() >= before >= 0
    assert limits.peak_bytes() > 20 * MIB


PROGRAM = """
import os, sys
from stream_scorer.shadow import limits
limits.end_with(int(sys.argv[1]))
limits.limit_memory(256 * 1024 * 1024)
limits.yield_processors()
try:
    bytearray(2 * 1024**3)
except MemoryError:
    print("no memory")
print(os.sched_getscheduler(0) == os.SCHED_IDLE, open("/proc/self/oom_score_adj").read().strip())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits")
def test_limited_process_yields_and_gets_no_2_gib() -> None:
    def run(parent: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, str(parent)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    done = run(os.getpid())
    assert done.stdout.splitlines() == ["no memory", "True 1000"], done.stderr
    orphan = run(os.getpid() + 1)  # its parent is another one than the one that started it
    assert (orphan.returncode, orphan.stdout) == (1, "")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count it so")
def test_peak_is_not_that_of_the_process_that_started_this_one() -> None:
    ask = "from stream_scorer.shadow.limits import peak_bytes; print(peak_bytes())"
    start = (
        "import subprocess, sys; held = bytearray(200 << 20); "
        f"subprocess.run([sys.executable, '-c', {ask!r}])"
    )
    found = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, check=True
    )
    assert 4 * MIB < int(found.stdout) < 100 * MIB
