"""A server that does not work costs a bounded time and one warning, and never the run."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileStore
from tests.support.factories import publish
from tests.support.tracking.bad_servers import (
    Answer,
    bad_server,
    close,
    drip,
    hang,
    refuse,
    slow_link,
)
from tests.support.tracking.mlflow_server import MlflowServer
from trainer.__main__ import main
from trainer.publishing import tracking
from trainer.publishing.tracking import MlflowTracker
from trainer.publishing.tracking_client import Limits

SHORT = Limits(silent=1.0, total=5.0, start=120.0)
BOUND_SECONDS = 150.0
"""With the time to load a client; MLflow itself would wait for minutes, and that several times."""

METADATA = {"version": "v7", "files": {"model.pkl": {"sha256": "ab" * 32}}, "metrics": {}}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hang, "did not answer for 1 s"),
        (drip, "did not answer for 1 s"),
        (close, "Remote end closed connection without response"),
        (refuse("500 Internal Server Error"), "too many 500 error responses"),
        (refuse("401 Unauthorized"), "MLFLOW_TRACKING_USERNAME"),
        (refuse("302 Found", "Location: /elsewhere"), "the address it redirects to"),
        (refuse("200 OK"), "not in a valid JSON format"),
        (None, "Connection refused"),
    ],
    ids=["hangs", "drips", "closes", "fails", "unauthorized", "redirects", "talks", "down"],
)
def test_server_that_does_not_work_costs_a_moment_and_one_warning(
    answer: Answer | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Without an answer only the limit ends the wait; the others end by themselves.
    limits = SHORT if answer in (hang, drip) else tracking.LIMITS
    with bad_server(answer or close) as port:
        if answer is not None:
            _track(port, limits, caplog)
    if answer is None:
        _track(port, limits, caplog)
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert why in warnings[0]
    assert "run, results, data set, files, registered model, alias: " in warnings[0]
    assert warnings[0].endswith("to do it later: fraud-trainer models track v7")
    assert "hush" not in caplog.text


def _track(port: int, limits: Limits, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    tracker = MlflowTracker(f"http://me:hush-hush@127.0.0.1:{port}", "file:///store", limits)
    with caplog.at_level(logging.INFO):
        tracker.start({"trees": 8}, "data.csv")
        tracker.finish(METADATA, {"model.pkl": b"m"}, is_champion=True)
    assert time.monotonic() - started < BOUND_SECONDS


def test_promotion_goes_on_without_the_server(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(store)
    publish(store, seed=2)
    monkeypatch.setattr(tracking, "LIMITS", SHORT)
    with bad_server(hang) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        assert main(["models", "rollback"]) == 0
    printed = capsys.readouterr()
    assert "promoted v1" in printed.out
    assert "alias: the server did not answer for 1 s" in printed.err
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v1"


def test_large_file_on_a_slow_line_is_uploaded(
    mlflow_server: MlflowServer, store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    del store  # for the experiment
    size = 3 * 1024 * 1024
    with (
        slow_link(mlflow_server.port, 256 * 1024) as port,
        caplog.at_level(logging.WARNING),
    ):
        limits = Limits(silent=6.0, total=240.0, start=120.0)  # half of what the upload takes
        tracker = MlflowTracker(f"http://127.0.0.1:{port}", "file:///store", limits)
        tracker.start({"trees": 8}, "data.csv")
        tracker.finish(METADATA, {"model.pkl": os.urandom(size)}, is_champion=False)
    assert caplog.messages == []
    run = mlflow_server.runs()[0]
    assert mlflow_server.files(run["info"]["run_id"], "bundle") == {"bundle/model.pkl": size}


def test_nothing_of_mlflow_is_loaded_without_a_server(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    program = (
        "import sys; from trainer.__main__ import main; "
        "code = main(['train', '--synthetic', '1500', '--trees', '2', '--threads', '1', "
        "'--no-promote', '--force', '--reason', 'a test']); "
        "sys.exit(code or any(name.partition('.')[0] == 'mlflow' for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
