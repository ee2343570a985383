"""The demo's decisions: restarts, the end of the stream, progress, ports, counts."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from stream_scorer.local import scrape
from stream_scorer.local.drain import QUIET_SECONDS, WAIT_SECONDS, Drain
from stream_scorer.local.probe import next_free_port, pick_free_port
from stream_scorer.local.progress_lines import EVERY_SECONDS, ProgressLines
from stream_scorer.local.restarts import QUICK_ENDS, QUICK_SECONDS, Restarts
from stream_scorer.local.scrape import MetricSample, Totals, parse_sample


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# --- progress


def test_file_gets_a_line_every_ten_seconds_however_often_progress_is_made() -> None:
    written: list[str] = []
    clock = Clock()
    lines = ProgressLines(written.append, is_terminal=False, clock=clock)
    for step in range(1, 461):  # 46 s
        clock.now = step / 10
        lines.show(f"{step} of 460")
    lines.end()
    assert written == [f"{step} of 460\n" for step in (100, 200, 300, 400)]
    assert EVERY_SECONDS == 10.0


def test_quick_work_writes_nothing_to_a_file() -> None:
    written: list[str] = []
    lines = ProgressLines(written.append, is_terminal=False, clock=Clock())
    for jar in range(46):
        lines.show(f"{jar} of 46")
    lines.end()
    assert written == []


def test_terminal_has_one_line_that_is_written_over() -> None:
    written: list[str] = []
    lines = ProgressLines(written.append, is_terminal=True, clock=Clock())
    lines.show("a long line")
    lines.show("short")
    lines.end()
    lines.end()
    assert written == ["\ra long line", "\rshort      ", "\n"]


# --- restarts


def test_scorer_that_ends_now_and_then_is_always_started_again() -> None:
    restarts = Restarts()
    assert all(restarts.may_restart(QUICK_SECONDS) for _ in range(100))
    assert restarts.count == 100


def test_scorer_that_keeps_ending_at_once_is_given_up() -> None:
    restarts = Restarts()
    assert [restarts.may_restart(1.0) for _ in range(QUICK_ENDS)] == [True, True, False]
    assert restarts.count == 2


def test_long_life_forgives_quick_ends() -> None:
    restarts = Restarts()
    for _ in range(5):
        assert restarts.may_restart(1.0)
        assert restarts.may_restart(QUICK_SECONDS + 1)


# --- the end of the stream


SAMPLE = MetricSample(at=100.0, scored=90, flagged=3, dead_letters=5, lag=0, partitions=12)


def over(drain: Drain, sample: MetricSample, now: float, *, restarted: bool = False) -> bool:
    sample = replace(sample, at=now)
    return drain.is_over(sample, now, is_produced=True, is_restarted=restarted)


def test_stream_is_over_when_every_transaction_has_an_outcome() -> None:
    drain = Drain(95)
    assert drain.is_over(SAMPLE, 100.0, is_produced=False, is_restarted=False)
    assert not over(Drain(96), SAMPLE, 100.0)


def test_outcomes_that_never_come_are_not_waited_for_without_end() -> None:
    drain = Drain(96)
    assert not over(drain, SAMPLE, 100.0)
    assert not over(drain, SAMPLE, 100.0 + WAIT_SECONDS)
    assert over(drain, SAMPLE, 100.1 + WAIT_SECONDS)


@pytest.mark.parametrize("busy", [{"lag": 7}, {"partitions": 0}])
def test_after_a_restart_no_lag_for_a_while_is_the_end(busy: dict[str, int]) -> None:
    drain = Drain(1000)
    assert not over(drain, SAMPLE, 100.0, restarted=True)
    assert not over(drain, replace(SAMPLE, **busy), 105.0, restarted=True)
    assert not over(drain, SAMPLE, 104.9 + QUIET_SECONDS, restarted=True)
    assert over(drain, SAMPLE, 105.0 + QUIET_SECONDS, restarted=True)


def test_counts_of_ended_scorers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = iter([(10, 1), (20, 2), (5, 0), (7, 1)])

    def read(_: str) -> MetricSample:
        scored, dead = next(samples)
        return MetricSample(1.0, scored, 0, dead, 0)

    monkeypatch.setattr(scrape, "read_sample", read)
    totals = Totals(lambda: "http://x")
    assert totals.read().outcomes == 11
    totals.read()
    totals.start_again()
    assert totals.read().outcomes == 22 + 5
    totals.start_again()
    assert totals.read().outcomes == 27 + 8
    assert totals.last.scored == 32


def test_sample_has_the_assigned_partitions() -> None:
    text = "fraud_scorer_assigned_partitions 12.0\nprediction_count_total 3.0\n"
    assert parse_sample(text, 1.0) == MetricSample(1.0, 3, 0, 0, 0, 12)


# --- ports


def test_next_free_port_is_taken_where_one_is_in_use() -> None:
    first = pick_free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        port = next_free_port(first)
    assert first < port <= first + 100
    assert next_free_port(first) == first
