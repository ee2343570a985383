"""How the scorer process exits: message, exit code, and no interpreter shutdown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import atexit, logging
from stream_scorer.cli import run
from stream_scorer.errors import FatalError

class Process:
    def __init__(self, settings):
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
