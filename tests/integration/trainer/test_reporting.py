"""Reporting of runs: the Pushgateway's protocol, and MLflow, which may not be installed."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import trainer.__main__ as command_line
from trainer.publishing.telemetry import RunMeasures, build_registry, push_failure, push_metrics
from trainer.publishing.tracking import NoTracker, open_tracker

RUN = RunMeasures(
    12.5,
    3.25,
    1000,
    {"accuracy": 0.97, "average_precision": 0.5, "top": {"0.02": {"recall": 0.4}}},
    is_promoted=True,
)


class Gateway(ThreadingHTTPServer):
    """Keeps pushed metrics by path; answers with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.pushed: dict[str, str] = {}
        self.added: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pushed[self.path] = body.decode()
        self.send_response(self.server.status)
        self.end_headers()

    def do_POST(self) -> None:
        """Replaces only metrics of the same names, where PUT replaces the whole group."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.added[self.path] = body.decode()
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with Gateway(getattr(request, "param", 202)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_metrics_are_pushed_under_the_trainers_job(gateway: Gateway) -> None:
    push_metrics(build_registry(RUN), f"http://127.0.0.1:{gateway.server_port}")
    body = gateway.pushed["/metrics/job/fraud-trainer"]
    assert "training_duration_seconds 12.5" in body
    assert "data_ingestion_rows_total 1000.0" in body
    assert "fraud_scorer_training_last_success_timestamp_seconds " in body
    assert "failed" not in body
    assert gateway.added == {}


def test_failed_run_keeps_the_metrics_of_the_last_good_run(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHGATEWAY_URL", f"http://127.0.0.1:{gateway.server_port}")
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    nowhere = str(tmp_path / "nowhere.csv")
    assert command_line.main(["train", "--transactions", nowhere]) == 1
    body = gateway.added["/metrics/job/fraud-trainer"]
    assert "fraud_scorer_training_failed_timestamp_seconds " in body
    assert "last_success" not in body
    assert gateway.pushed == {}


@pytest.mark.parametrize("gateway", [500], indirect=True)
def test_a_failure_that_cannot_be_pushed_is_only_a_warning(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        push_failure(f"http://user:hush-hush@127.0.0.1:{gateway.server_port}")
    assert "could not push the failure" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("gateway", [500], indirect=True)
def test_a_gateway_that_refuses_is_only_a_warning(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        push_metrics(build_registry(RUN), f"http://user:hush-hush@127.0.0.1:{gateway.server_port}")
    assert "could not push metrics" in caplog.text
    assert "hush" not in caplog.text


def test_tracking_without_mlflow_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with caplog.at_level(logging.WARNING):
        tracker = open_tracker("http://127.0.0.1:1", "file:///store")
    assert isinstance(tracker, NoTracker)
    assert "pip install 'stream-scorer[tracking]'" in caplog.text


def test_an_interrupt_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stream_scorer.runtime.logs.configure_logging", interrupted)
    assert command_line.main(["models", "list"]) == 130
    assert capsys.readouterr() == ("", "")
