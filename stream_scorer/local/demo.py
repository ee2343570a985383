"""The whole system on this machine: broker, training, scorer, dashboard, a steady stream.

Every part is a separate process, started as a user would start it. This process only starts,
watches and ends them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.local.drain import Drain
from stream_scorer.local.progress_lines import ProgressLines
from stream_scorer.local.restarts import Restarts
from stream_scorer.local.scrape import MetricSample, Totals, answers
from stream_scorer.local.system import STEP_SECONDS, LocalSystem, run_system, say

TRAINING_ROWS: Final = 20_000
STREAM_ROWS: Final = 20_000  # repeated from the start if more are requested
DEFAULT_RATE: Final = 200.0
BLOCK_PRECISION: Final = 0.6  # a model trained for a few seconds never reaches the default 0.9

_TICK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The demo's options.

    Attributes:
        transactions: how many to stream; None: until Ctrl-C.
        exits: end after the last transaction, with an audit and a summary.
        rate: transactions per second.
        port: the dashboard's port.
        folder: for all files, which are kept; None: a temporary one.
    """

    transactions: int | None = None
    exits: bool = False
    rate: float = DEFAULT_RATE
    port: int = 8000
    folder: Path | None = None


def run_demo(options: DemoOptions) -> int:
    """Run the demo; returns 0 on success (which, with ``exits``, includes the audit)."""
    if options.exits and options.transactions is None:
        raise UsageError("--exit requires --transactions N")
    return run_system(lambda folder: _Demo(options, folder), options.folder)


class _Demo(LocalSystem):
    """A steady stream, and an audit at its end."""

    def __init__(self, options: DemoOptions, folder: Path) -> None:
        super().__init__(folder, options.port)
        self._options = options
        self._totals = Totals(lambda: self.url("/metrics"))
        self._restarts = Restarts()
        self._scorer_started = 0.0

    def run(self) -> int:
        """Start everything, stream, and report."""
        training = self.folder / "training"
        self.tell("generating synthetic transactions")
        rows = min(self._options.transactions or STREAM_ROWS, STREAM_ROWS)
        synth = self.start("synth", "trainer", "synth", str(training), "--rows",
                            str(TRAINING_ROWS), "--seed", "7")  # fmt: skip
        stream = self.folder / "stream"
        self.configure(self.start_broker())
        self.run_program("topics", "stream_scorer", "topics", "create")
        self.finish("synth", synth)
        more = self.start("synth-stream", "trainer", "synth", str(stream), "--rows",
                           str(max(rows, 200)), "--seed", "21")  # fmt: skip
        self.tell(f"training on {TRAINING_ROWS:,} transactions")
        self.run_program("train", "trainer", "train", *csv_arguments(training, "--transactions"),
                  "--block-precision", str(BLOCK_PRECISION))  # fmt: skip
        self.finish("synth-stream", more)
        self.tell("starting scorer and dashboard")
        scorer = self._start_scorer()
        address = self.start_dashboard()
        self.wait("scorer", scorer, lambda: answers(self.url("/readyz")))
        self.tell(f"streaming {self._options.rate:,.0f} transactions per second")
        producer = self.start("producer", "stream_scorer", "produce",
                               *csv_arguments(stream, None), *self._limits())  # fmt: skip
        servers = self.environment["KAFKA_BOOTSTRAP_SERVERS"]
        say(
            f"\n  dashboard: {address}\n  other shells: export KAFKA_BOOTSTRAP_SERVERS={servers}"
            "\n  stop with Ctrl-C\n"
        )
        self._watch(producer)
        return self._conclude(address)

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
            self.check("dashboard")
            self._keep_scorer(lines)
            with contextlib.suppress(OSError):
                now = self._totals.read()
                if now.scored and (before is None or not before.scored):
                    lines.end()
                    say(f"  first score after {time.monotonic() - self.started:.1f} s")
                lines.show("  " + now.describe(before))
                before = now
            if producer.poll() not in (None, 0) and self._options.exits:
                self.fail("producer")
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
        say("  " + self._totals.last.describe(None))

    def _start_scorer(self) -> subprocess.Popen[bytes]:
        self._scorer_started = time.monotonic()
        return self.start_scorer()

    def _keep_scorer(self, lines: ProgressLines) -> None:
        """Start the scorer again if it has ended by itself, as a cluster would."""
        scorer = next(child for name, child in self.children if name == "scorer")
        if scorer.poll() is None:
            return
        if not self._restarts.may_restart(time.monotonic() - self._scorer_started):
            self.fail("scorer")
        lines.end()
        say(
            f"  the scorer ended by itself (exit code {scorer.returncode}); starting it again. "
            f"Its log: {self.folder / 'logs' / 'scorer.log'}"
        )
        self.children.remove(("scorer", scorer))
        self._totals.start_again()
        self._start_scorer()

    def _conclude(self, address: str) -> int:
        self.tell("auditing: does every transaction have exactly one outcome?")
        output = self.folder / "audit.json"
        with output.open("wb") as report:
            audit = subprocess.run(
                [sys.executable, "-m", "stream_scorer", "verify", "--json"],
                env=self.environment,
                stdout=report,
                timeout=STEP_SECONDS,
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
            "seconds": round(time.monotonic() - self.started, 1),
            "dashboard": address,
            "audit": found or None,
        }
        return 0 if verified else 1


def csv_arguments(folder: Path, option: str | None) -> list[str]:
    """The flags that name the two files of a folder."""
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
