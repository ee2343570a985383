"""The trainer's side of tracking, with small programs in the place of MLflow's client."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from trainer.publishing.tracking_client import Limits, TrackingProcess

GENEROUS = Limits(silent=120.0, total=120.0, start=120.0)
SLOW_TO_LOAD = replace(GENEROUS, start=0.5)
SILENT = replace(GENEROUS, silent=0.3)
ENDLESS = replace(GENEROUS, total=1.0)
BOUND_SECONDS = 90.0
"""What a wait of a second may take on a busy machine; without the limit it would be longer."""

PROLOGUE = """
import json, os, signal, sys, time
def report(**values):
    print(json.dumps(values), flush=True)
"""
RECORDER = """
lines = []
report(state="ready")
for line in sys.stdin:
    lines.append(json.loads(line))
    if lines[-1].get("do") in ("finish", "fail"):
        break
report(state="done", part="run")
report(state="ended", missed={}, url=json.dumps(lines), champion="3")
"""


def start(body: str, limits: Limits) -> TrackingProcess:
    """A tracking process that runs this program."""
    command = (sys.executable, "-I", "-S", "-c", PROLOGUE + body)
    return TrackingProcess("http://user:secret@server", limits, command)


def test_messages_arrive_in_order_and_the_outcome_comes_back() -> None:
    process = start(RECORDER, GENEROUS)
    for step in range(3000):  # more than a pipe holds
        process.send(do="metric", point=["ap", 0.5, 1_700_000_000_000, step])
    outcome = process.end(("run",), do="finish", name="v7")
    assert outcome.missed == {}
    assert outcome.champion == "3"
    lines = json.loads(outcome.url)
    assert lines[0] == {
        "uri": "http://user:secret@server", "silent_seconds": 120.0, "total_seconds": 120.0,
    }  # fmt: skip
    assert [line["point"][3] for line in lines[1:-1]] == list(range(3000))
    assert lines[-1] == {"do": "finish", "name": "v7"}


@pytest.mark.parametrize(
    ("body", "limits", "why"),
    [
        ("time.sleep(600)", SLOW_TO_LOAD, "did not load in 0.5 s"),
        ("report(state='ready'); time.sleep(600)", SILENT, "did not answer for 0.3 s"),
        (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); report(state='ready'); time.sleep(600)",
            SILENT,
            "did not answer for 0.3 s",
        ),
        (
            "report(state='ready')\nwhile True: report(state='answered'); time.sleep(0.05)",
            ENDLESS,
            "more than 1 s",
        ),
        ("report(state='ready')", GENEROUS, "ended unexpectedly"),
        ("os.kill(os.getpid(), signal.SIGKILL)", GENEROUS, "ended unexpectedly"),
    ],
    ids=["no start", "no answer", "no answer to a signal", "endless answers", "exit", "killed"],
)
def test_process_that_does_not_finish_costs_no_more_than_the_limits(
    body: str, limits: Limits, why: str
) -> None:
    started = time.monotonic()
    process = start(body, limits)
    process.send(do="start")
    outcome = process.end(("run", "files"), do="finish")
    assert time.monotonic() - started < BOUND_SECONDS
    assert set(outcome.missed) == {"run", "files"}
    assert why in outcome.missed["run"]


def test_process_that_takes_no_message_does_not_hold_the_training_up() -> None:
    process = start("report(state='ready'); time.sleep(600)", GENEROUS)
    started = time.monotonic()
    for step in range(20_000):
        process.send(do="metric", point=["a curve with a long name", 0.5, 1_700_000_000_000, step])
    assert time.monotonic() - started < BOUND_SECONDS
    process.kill()


def test_parts_that_are_done_are_not_missed() -> None:
    process = start("report(state='done', part='run'); time.sleep(600)", SILENT)
    assert list(process.end(("run", "files"), do="finish").missed) == ["files"]


def test_refused_part_names_the_rest_too() -> None:
    process = start("report(state='ended', missed={'run': 'no such user'}, url='')", GENEROUS)

    def has_given_up() -> bool:
        process.send(do="metric")
        return process.has_ended

    wait_until(has_given_up)
    outcome = process.end(("run", "files"), do="finish")
    assert outcome.missed == {"run": "no such user", "files": "no such user"}


def test_messages_after_the_end_go_nowhere(tmp_path: Path) -> None:
    process = start("report(state='ended', missed={}, url='')", GENEROUS)
    process.end(do="finish")
    with (tmp_path / "other").open("w") as other:  # takes the descriptor of the closed pipe
        process.send(do="metric", point=["ap", 0.5, 1, 1])
        assert process.end(do="finish").missed == {}
        other.flush()
    assert (tmp_path / "other").read_text() == ""


def test_server_that_answers_slowly_is_waited_for() -> None:
    body = "report(state='ready')\nfor _ in range(4): time.sleep(0.4); report(state='answered')\n"
    body += "report(state='ended', missed={}, url='u')"
    assert start(body, GENEROUS).end().url == "u"
