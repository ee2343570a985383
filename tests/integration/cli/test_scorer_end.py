"""How the scorer process exits: message, exit code, and no interpreter shutdown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import atexit, logging
from stream_scorer.cli import run
from stream_scorer.errors import FatalError

class Process:
    def __init__(self, settings, *, is_from_start):
        pass
    def run(self):
        atexit.register(print, "interpreter shutdown", flush=True)
        logging.getLogger("test").warning("logged")
        print("printed", end="")
        {ends}
    def stop(self, *_):
        pass

run.ScorerProcess = Process
run.run_scorer()
"""


@pytest.mark.parametrize(
    ("ends", "code", "last_line"),
    [
        ("pass", 0, ""),
        ("raise FatalError('cannot continue')", 1, "stream-scorer: cannot continue"),
        ("raise RuntimeError('a defect')", 1, "RuntimeError: a defect"),
    ],
)
def test_scorer_exits_with_its_message_and_code(
    ends: str, code: int, last_line: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(ends=ends)],
        env={"MODEL_STORE_URI": tmp_path.as_uri(), "LOG_FORMAT": "console"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == "printed"
    assert "logged" in ended.stderr
    assert ended.stderr.rstrip().endswith(last_line)
    assert ("Traceback" in ended.stderr) == ("RuntimeError" in ends)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("raise FatalError('cannot continue')", "cannot continue"),
        ("raise RuntimeError('a defect')", "unexpected error"),
    ],
)
def test_reason_of_an_exit_is_a_json_line_where_logs_are_json(
    ends: str, message: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(ends=ends)],
        env={"MODEL_STORE_URI": tmp_path.as_uri(), "LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert lines[-1]["message"].startswith(message)
    assert lines[-1]["level"] == "CRITICAL"
    assert ("a defect" in ended.stderr) == ("RuntimeError" in ends)


def test_invalid_setting_is_a_json_line_too(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "stream_scorer", "run"],
        env={
            "MODEL_STORE_URI": tmp_path.as_uri(),
            "LOG_FORMAT": "json",
            "BATCH_MAX_RECORDS": "none",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "BATCH_MAX_RECORDS" in json.loads(line)["message"]
