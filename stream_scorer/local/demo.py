"""The whole system on this machine: broker, training, scorer, dashboard, a steady stream.

Every part is a separate process, started as a user would start it. This process only starts,
watches and ends them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.drain import Drain
from stream_scorer.local.probe import next_free_port, pick_free_port
from stream_scorer.local.progress_lines import ProgressLines
from stream_scorer.local.restarts import Restarts
from stream_scorer.local.scrape import MetricSample, Totals, answers
from stream_scorer.runtime.processes import end_child, start_child

TRAINING_ROWS: Final = 20_000
STREAM_ROWS: Final = 20_000  # repeated from the start if more are requested
BLOCK_PRECISION: Final = 0.6  # a model trained for a few seconds never reaches the default 0.9

_START_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 300.0
_END_SECONDS: Final = 15.0
_TICK_SECONDS: Final = 0.5
_LOG_LINES: Final = 15


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The demo's options.

    Attributes:
        transactions: how many to stream; None: until Ctrl-C.
        exits: end after the last transaction, with an audit and a summary.
        rate: transactions per second.
        port: the dashboard's port.
    """

    transactions: int | None = None
    exits: bool = False
    rate: float = 200.0
    port: int = 8000


class _Interrupted(Exception):
    """Ctrl-C or SIGTERM."""


def run_demo(options: DemoOptions) -> int:
    """Run the demo; returns 0 on success (which, with ``exits``, includes the audit)."""
    if options.exits and options.transactions is None:
        raise UsageError("--exit requires --transactions N")
    folder = Path(tempfile.mkdtemp(prefix="stream-scorer-demo-"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    demo = _Demo(options, folder)
    failed = True
    try:
        code = demo.run()
        failed = code != 0
    except _Interrupted:
        _print_line("\nstopping …")
        code, failed = 0, False
    finally:
        # A second Ctrl-C during cleanup must not leave anything running.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        demo.end()
        if failed:
            _print_line(f"logs of all processes: {folder / 'logs'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _print_line("all processes have ended")
    if demo.summary is not None:
        print(json.dumps(demo.summary), flush=True)  # noqa: T201 - the command's output
    return code


def _interrupt(*_: Any) -> None:
    raise _Interrupted


def _print_line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's output


class _Demo:
    """The running processes, in the order in which they were started."""

    def __init__(self, options: DemoOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._started = time.monotonic()
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._broker: EmbeddedBroker | None = None
        self._environment = dict(os.environ)
        self._metrics_port = pick_free_port()
        self._totals = Totals(self._url("/metrics"))
        self._restarts = Restarts()
        self._scorer_started = 0.0
        self.summary: dict[str, Any] | None = None
        (folder / "logs").mkdir()

    def run(self) -> int:
        """Start everything, stream, and report."""
        training = self._folder / "training"
        self._step("generating synthetic transactions")
        rows = min(self._options.transactions or STREAM_ROWS, STREAM_ROWS)
        synth = self._start("synth", "trainer", "synth", str(training), "--rows",
                            str(TRAINING_ROWS), "--seed", "7")  # fmt: skip
        stream = self._folder / "stream"
        self._configure(self._start_broker())
        self._run("topics", "stream_scorer", "topics", "create")
        self._finish("synth", synth)
        more = self._start("synth-stream", "trainer", "synth", str(stream), "--rows",
                           str(max(rows, 200)), "--seed", "21")  # fmt: skip
        self._step(f"training on {TRAINING_ROWS:,} transactions")
        self._run("train", "trainer", "train", *_csv_arguments(training, "--transactions"),
                  "--block-precision", str(BLOCK_PRECISION))  # fmt: skip
        self._finish("synth-stream", more)
        self._step("starting scorer and dashboard")
        scorer = self._start_scorer()
        address = self._start_dashboard()
        self._wait("scorer", scorer, lambda: answers(self._url("/readyz")))
        self._step(f"streaming {self._options.rate:,.0f} transactions per second")
        producer = self._start("producer", "stream_scorer", "produce",
                               *_csv_arguments(stream, None), *self._limits())  # fmt: skip
        servers = self._environment["KAFKA_BOOTSTRAP_SERVERS"]
        _print_line(
            f"\n  dashboard: {address}\n  other shells: export KAFKA_BOOTSTRAP_SERVERS={servers}"
            "\n  stop with Ctrl-C\n"
        )
        self._watch(producer)
        return self._conclude(address)

    def end(self) -> None:
        """End every process that was started, the last one first."""
        for _, child in reversed(self._children):
            end_child(child, _END_SECONDS)
        self._children.clear()
        if self._broker is not None:
            self._broker.close()

    def _start_broker(self) -> str:
        if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            _print_line(f"  using the Kafka at {servers}")
            return servers
        self._step("starting Apache Kafka")
        self._broker = EmbeddedBroker(self._folder / "kafka")
        lines = ProgressLines()
        self._broker.start(
            lambda done, total: lines.show(f"  downloaded {done} of {total} Kafka jars")
        )
        lines.end()
        return self._broker.bootstrap_servers

    def _configure(self, servers: str) -> None:
        run = self._folder.name.rpartition("-")[2]
        self._environment |= {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "MODEL_STORE_URI": (self._folder / "store").as_uri(),
            "MODEL_CACHE_DIR": str(self._folder / "cache"),
            "HISTORY_CACHE_DIR": str(self._folder / "history"),
            "MODEL_POLL_SECONDS": "2",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": str(self._metrics_port),
            "DASHBOARD_HOST": "127.0.0.1",
            "DASHBOARD_STATE_DIR": str(self._folder / "dashboard"),
            "PYTHONUNBUFFERED": "1",
        }
        if self._broker is None:  # an external Kafka: use topics and a group of this run only
            names = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DLQ_TOPIC", "LABELS_TOPIC", "AUDIT_TOPIC",
                     "SHADOW_TOPIC", "KAFKA_GROUP_ID")  # fmt: skip
            for name in names:
                self._environment.setdefault(name, f"demo-{run}-{name.lower().replace('_', '-')}")

    def _start_dashboard(self) -> str:
        port = next_free_port(self._options.port)
        if port != self._options.port:
            _print_line(f"  port {self._options.port} is in use, using {port} instead")
        self._environment["DASHBOARD_PORT"] = str(port)
        address = f"http://127.0.0.1:{port}/"
        dashboard = self._start("dashboard", "dashboard")
        self._wait("dashboard", dashboard, lambda: answers(f"{address}livez"))
        return address

    def _limits(self) -> list[str]:
        wanted = self._options.transactions
        if wanted is None:
            return ["--rate", str(self._options.rate), "--loop"]
        loop = ["--loop"] if wanted > STREAM_ROWS else []
        return ["--rate", str(self._options.rate), "--limit", str(wanted), *loop]

    def _watch(self, producer: subprocess.Popen[bytes]) -> None:
        """Print the live line until the stream has ended and every transaction has an outcome."""
        lines = ProgressLines()
        before: MetricSample | None = None
        drain = Drain(self._options.transactions)
        while True:
            self._check("dashboard")
            self._keep_scorer(lines)
            with contextlib.suppress(OSError):
                now = self._totals.read()
                if now.scored and (before is None or not before.scored):
                    lines.end()
                    _print_line(f"  first score after {time.monotonic() - self._started:.1f} s")
                lines.show("  " + now.describe(before))
                before = now
            if producer.poll() not in (None, 0) and self._options.exits:
                self._fail("producer")
            is_over = drain.is_over(
                self._totals.last,
                time.monotonic(),
                is_produced=producer.poll() is not None,
                is_restarted=self._restarts.count > 0,
            )
            if self._options.exits and is_over:
                break
            time.sleep(_TICK_SECONDS)
        lines.end()
        _print_line("  " + self._totals.last.describe(None))

    def _start_scorer(self) -> subprocess.Popen[bytes]:
        self._scorer_started = time.monotonic()
        return self._start("scorer", "stream_scorer", "run")

    def _keep_scorer(self, lines: ProgressLines) -> None:
        """Start the scorer again if it has ended by itself, as a cluster would."""
        scorer = next(child for name, child in self._children if name == "scorer")
        if scorer.poll() is None:
            return
        if not self._restarts.may_restart(time.monotonic() - self._scorer_started):
            self._fail("scorer")
        lines.end()
        _print_line(
            f"  the scorer ended by itself (exit code {scorer.returncode}); starting it again. "
            f"Its log: {self._folder / 'logs' / 'scorer.log'}"
        )
        self._children.remove(("scorer", scorer))
        self._totals.start_again()
        self._start_scorer()

    def _conclude(self, address: str) -> int:
        self._step("auditing: does every transaction have exactly one outcome?")
        output = self._folder / "audit.json"
        with output.open("wb") as report:
            audit = subprocess.run(
                [sys.executable, "-m", "stream_scorer", "verify", "--json"],
                env=self._environment,
                stdout=report,
                timeout=_STEP_SECONDS,
                check=False,
            )
        wanted = self._options.transactions
        sample, found = self._totals.last, _loads(output.read_bytes()) or {}
        scored, dead_letters = sample.scored, sample.dead_letters
        if self._restarts.count:  # an ended scorer's last counts are lost
            scored, dead_letters = found.get("scores", 0), found.get("dead_letters", 0)
        verified = audit.returncode == 0 and scored + dead_letters == wanted
        self.summary = {
            "transactions": wanted,
            "scored": scored,
            "dead_letters": dead_letters,
            "flagged": sample.flagged,
            "restarts": self._restarts.count,
            "verified": verified,
            "seconds": round(time.monotonic() - self._started, 1),
            "dashboard": address,
            "audit": found or None,
        }
        return 0 if verified else 1

    def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "logs" / f"{name}.log").open("ab") as log:
            child = start_child([sys.executable, "-m", module, *arguments], log, self._environment)
        self._children.append((name, child))
        return child

    def _run(self, name: str, module: str, *arguments: str) -> None:
        self._finish(name, self._start(name, module, *arguments))

    def _finish(self, name: str, child: subprocess.Popen[bytes]) -> None:
        try:
            code = child.wait(_STEP_SECONDS)
        except subprocess.TimeoutExpired:
            raise FatalError(f"{name} did not finish within {_STEP_SECONDS:.0f} s") from None
        self._children.remove((name, child))
        if code != 0:
            self._fail(name)

    def _wait(
        self, name: str, child: subprocess.Popen[bytes], is_ready: Callable[[], bool]
    ) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if child.poll() is not None or time.monotonic() > deadline:
                self._fail(name)
            time.sleep(0.05)

    def _check(self, *names: str) -> None:
        for name, child in self._children:
            if name in names and child.poll() is not None:
                self._fail(name)

    def _fail(self, name: str) -> None:
        lines = (self._folder / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-_LOG_LINES:])
        raise FatalError(f"{name} failed; the last lines of its log:\n{tail}")

    def _step(self, what: str) -> None:
        _print_line(f"[{time.monotonic() - self._started:5.1f} s] {what}")

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._metrics_port}{path}"


def _csv_arguments(folder: Path, option: str | None) -> list[str]:
    transactions = str(folder / "train_transaction.csv")
    given = [option, transactions] if option else [transactions]
    return [*given, "--identity", str(folder / "train_identity.csv")]


def _loads(data: bytes) -> Mapping[str, Any] | None:
    try:
        loaded = json.loads(data)
    except ValueError:
        return None
    if not isinstance(loaded, dict):
        return None
    return {name: value for name, value in loaded.items() if name != "partitions"}
