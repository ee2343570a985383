"""``stream-scorer demo`` as ``make demo`` starts it, where the system has no OpenMP library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.local.probe import pick_free_port
from tests.support.hidden_openmp import without_openmp


@pytest.mark.timeout(600)
def test_demo_works_without_the_openmp_library_of_the_system(tmp_path: Path) -> None:
    environment = without_openmp(tmp_path / "libraries")
    environment.pop("KAFKA_BOOTSTRAP_SERVERS", None)
    done = subprocess.run(
        [sys.executable, "-m", "stream_scorer", "demo", "--transactions", "300", "--exit",
         "--rate", "300", "--port", str(pick_free_port())],
        env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["verified"] is True
    assert summary["scored"] == summary["transactions"] == 300
