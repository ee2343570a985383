"""Runs the whole system on this machine, with a real Prometheus.

``python -m tests.k8s.support.observed --seconds 120 --picture docs/dashboards.svg`` runs it for a
while and draws what the dashboards would show. It needs the ``prometheus`` package of Debian, which
``make observe-check`` downloads. It uses only loopback addresses.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml

from stream_scorer.kafka.clients import open_producer
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.probe import pick_free_port
from stream_scorer.runtime.processes import end_child, start_child
from stream_scorer.runtime.settings import KafkaSettings
from tests.k8s.support.rendering import ROOT
from tests.k8s.support.rules import groups
from tests.support.waiting import wait_until

UNPACKED = ROOT / ".cache/prometheus/usr/bin"  # where `make observe-check` unpacks them
PER_SECOND = 200
BAD_EVERY = 200  # records
STEP_SECONDS = 2


def find_tool(name: str) -> str | None:
    """The path of ``prometheus``, ``promtool``, ``alertmanager`` or ``amtool``; None if missing."""
    path = f"{UNPACKED}{os.pathsep}{os.environ.get('PATH', '')}"
    return shutil.which(name, path=path) or shutil.which(f"prometheus-{name}", path=path)  # Debian


class Prometheus:
    """A client of the Prometheus HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: Any) -> Any:
        """``data`` of a response.

        Raises:
            AssertionError: Prometheus rejected the request; the message is its own.
        """
        query = urllib.parse.urlencode(parameters)
        try:
            url = f"{self._url}/api/v1/{path}?{query}"
            with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - loopback
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def value(self, expr: str) -> list[dict[str, Any]]:
        """The instant vector of an expression."""
        found: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return found

    def series(self, expr: str, seconds: float) -> list[dict[str, Any]]:
        """The values of an expression over the last ``seconds``."""
        now = time.time()
        found: list[dict[str, Any]] = self.get(
            "query_range", query=expr, start=now - seconds, end=now, step=STEP_SECONDS
        )["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """The active scrape targets."""
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health and, for alerts, its state."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


@dataclass(frozen=True, slots=True)
class Observed:
    """The running system, and the Prometheus that scrapes it."""

    prometheus: Prometheus
    folder: Path
    environment: Mapping[str, str]

    def burst(self) -> None:
        """Produce 20,000 transactions as fast as possible."""
        _run(self.folder, self.environment, "stream_scorer", "produce",
             str(self.folder / "rows/train_transaction.csv"))  # fmt: skip


@contextmanager
def observed_system(folder: Path) -> Iterator[Observed]:
    """Broker, scorer, dashboard, good and bad traffic, requests to ``/predict``, Prometheus."""
    with ExitStack() as stack:
        broker = EmbeddedBroker(folder / "kafka")
        stack.callback(broker.close)
        broker.start()
        ports = {name: pick_free_port() for name in ("scorer", "dashboard", "prometheus")}
        environment = _environment(folder, broker.bootstrap_servers, ports)
        _run(folder, environment, "stream_scorer", "topics", "create")
        (folder / "trainer").mkdir()
        _run(folder, environment, "trainer", "train", "--synthetic", "20000", "--features",
             "history/1", "--trees", "100", "--leaves", "31", "--block-precision", "0.6",
             "--metrics-file", str(folder / "trainer/metrics"))  # fmt: skip
        _run(folder, environment, "trainer", "synth", str(folder / "rows"), "--rows", "20000",
             "--seed", "21")  # fmt: skip
        start = partial(_start, stack, folder, environment)
        start("scorer", sys.executable, "-m", "stream_scorer", "run")
        start("dashboard", sys.executable, "-m", "dashboard")
        trainer_port = _serve(stack, folder / "trainer")
        for name in ("scorer", "dashboard"):
            ready = partial(_responds, f"http://127.0.0.1:{ports[name]}/readyz")
            wait_until(ready, 180, what=name)
        start("producer", sys.executable, "-m", "stream_scorer", "produce",
              str(folder / "rows/train_transaction.csv"), "--identity",
              str(folder / "rows/train_identity.csv"), "--rate", str(PER_SECOND),
              "--loop")  # fmt: skip
        _disturb(stack, broker.bootstrap_servers, ports["dashboard"])
        config = _configure(folder, ports["scorer"], ports["dashboard"], trainer_port)
        executable = find_tool("prometheus")
        assert executable, "no prometheus on this machine"
        start("prometheus", executable, f"--config.file={config}",
              f"--storage.tsdb.path={folder / 'tsdb'}",
              f"--web.listen-address=127.0.0.1:{ports['prometheus']}")  # fmt: skip
        url = f"http://127.0.0.1:{ports['prometheus']}"
        wait_until(lambda: _responds(f"{url}/-/ready"), 90, what="prometheus")
        yield Observed(Prometheus(url), folder, environment)


def _environment(folder: Path, servers: str, ports: Mapping[str, int]) -> dict[str, str]:
    return dict(os.environ) | {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "MODEL_STORE_URI": (folder / "store").as_uri(),
        "MODEL_CACHE_DIR": str(folder / "cache"),
        "HISTORY_CACHE_DIR": str(folder / "history"),
        "HISTORY_SNAPSHOT_SECONDS": "5",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": str(ports["scorer"]),
        "DASHBOARD_PORT": str(ports["dashboard"]),
        "DASHBOARD_STATE_DIR": str(folder / "dashboard"),
        "LOG_FORMAT": "json",
    }


def _run(folder: Path, environment: Mapping[str, str], module: str, *arguments: str) -> None:
    with (folder / f"{module}-{arguments[0]}.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=dict(environment), stdout=log, stderr=log, check=True, timeout=400,
        )  # fmt: skip


def _start(
    stack: ExitStack, folder: Path, environment: Mapping[str, str], name: str, *command: str
) -> None:
    log = stack.enter_context((folder / f"{name}.log").open("ab"))
    child = start_child(command, log, environment)
    stack.callback(end_child, child, 60.0)


def _serve(stack: ExitStack, folder: Path) -> int:
    """Serve the metrics of the trainer, as a Pushgateway would; returns the port."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Discards the line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return int(server.server_address[1])


def _disturb(stack: ExitStack, servers: str, dashboard_port: int) -> None:
    """Send a few bad records and requests per second until the stack unwinds."""
    producer = open_producer(KafkaSettings.model_validate({"kafka_bootstrap_servers": servers}))
    done = Event()
    body = json.dumps(
        {"transactions": [{"TransactionID": 1, "TransactionDT": 86400, "TransactionAmt": 31.95}]}
    ).encode()

    def send() -> None:
        while not done.wait(0.25):
            producer.produce("transactions", b'{"TransactionID": "bad"', b"1")
            producer.poll(0)
            request = urllib.request.Request(
                f"http://127.0.0.1:{dashboard_port}/predict", body,
                {"content-type": "application/json"},
            )  # fmt: skip
            with suppress(OSError):  # a late response must not stop the traffic
                urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - loopback
        producer.flush(5)

    thread = Thread(target=send, daemon=True)
    thread.start()
    stack.callback(thread.join, 60)
    stack.callback(done.set)


def _configure(folder: Path, scorer: int, dashboard: int, trainer: int) -> Path:
    """Like ``k8s/observability/prometheus.yml``, with shorter intervals and fixed targets."""
    quick = [{**group, "interval": f"{STEP_SECONDS}s"} for group in groups()]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": quick}), "utf-8")
    jobs = {"stream-scorer": scorer, "fraud-dashboard": dashboard, "fraud-trainer": trainer}
    scrapes = [
        {
            "job_name": job,
            "static_configs": [
                {
                    "targets": [f"127.0.0.1:{port}"],
                    "labels": {"namespace": "here", "pod": f"{job}-0"},
                }
            ],
        }
        for job, port in jobs.items()
    ]
    config = {
        "global": {
            "scrape_interval": f"{STEP_SECONDS}s",
            "evaluation_interval": f"{STEP_SECONDS}s",
            "scrape_timeout": f"{STEP_SECONDS}s",
        },
        "rule_files": ["rules.yml"],
        "scrape_configs": scrapes,
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - loopback
            return bool(response.status == 200)
    except OSError:
        return False


def main() -> None:
    """Run the system for a while, then draw the dashboards."""
    from tests.k8s.support.board_picture import draw

    parser = argparse.ArgumentParser(description="draw the dashboards on a real run")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="observed-") as folder,
        observed_system(Path(folder)) as observed,
    ):
        started = time.monotonic()
        time.sleep(arguments.seconds / 2)
        observed.burst()
        time.sleep(max(0.0, started + arguments.seconds - time.monotonic()))
        arguments.picture.write_text(draw(observed.prometheus, arguments.seconds), "utf-8")


if __name__ == "__main__":
    main()
