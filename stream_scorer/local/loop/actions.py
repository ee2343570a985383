"""What several steps of the loop do."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from stream_scorer.local.loop import tables
from stream_scorer.local.loop.system import LoopSystem

_BESIDE_RATE: Final = 400.0
"""Transactions per second while a challenger scores, so that it need not leave out any."""

_FIRST_ROWS: Final = 20

_SHED: Final = "fraud_scorer_shadow_shed_total"
_OTHERS: Final = ("fraud_scorer_shadow_rows_total", "fraud_scorer_shadow_errors_total")


class LoopActions(LoopSystem):
    """Streams, challengers, chargebacks, and what the scorer says of them.

    Args:
        folder: for all files.
        port: of the dashboard, if it is free.
        parts: of the table.
        rate: transactions per second.
    """

    def __init__(self, folder: Path, port: int, parts: tables.Parts, rate: float) -> None:
        super().__init__(folder, port)
        self.parts = parts
        self._rate = rate
        self._streamed = 0
        self._reported: set[str] = set()

    def stream(self, name: str) -> None:
        """Send a part of the table to the input topic, and wait until it is scored."""
        self._produce(name, dict(self.parts.items())[name], self._rate)

    def _produce(self, name: str, rows: int, rate: float) -> None:
        self.command("stream-scorer", "produce", *self.files(name)[1:],
                     "--rate", f"{rate:g}", longer=rows / rate)  # fmt: skip
        self._streamed += rows
        self.until("the scores", lambda: self.count("prediction_count_total") >= self._streamed)

    def shadow(self, version: str) -> None:
        """Let a version score in shadow, and wait until the scorer has loaded it."""
        self.command("fraud-trainer", "models", "challenge", version)
        self.until(
            f"{version} to score in shadow",
            lambda: self.count("fraud_scorer_shadow_version", f'"{version}"') == 1,
        )

    def stream_beside(self, challenger: str, name: str) -> int:
        """Stream a part, and wait for the challenger too; returns how many it has left out.

        A few transactions come first: until a challenger has scored its first batch, for which a
        busy machine needs seconds, it leaves out what does not fit into its queue.
        """
        before, left_out = self._shadowed(), self.count(_SHED)
        rows, rate = dict(self.parts.items())[name], min(self._rate, _BESIDE_RATE)
        first, rest = tables.split_first(self.folder / "data" / f"{name}.csv", _FIRST_ROWS)
        self._produce(first, _FIRST_ROWS, rate)
        self._await_challenger(before + _FIRST_ROWS)
        self._produce(rest, rows - _FIRST_ROWS, rate)
        self._await_challenger(before + rows)
        shed = round(self.count(_SHED) - left_out)
        if shed:
            self.note(f"{challenger} has left out {shed:,}: this machine is busy")
        return shed

    def _await_challenger(self, rows: float) -> None:
        self.until("the challenger's scores", lambda: self._shadowed() >= rows)

    def _shadowed(self) -> float:
        """The transactions that a challenger has scored, left out or failed."""
        return sum(map(self.count, (_SHED, *_OTHERS)))

    def serves(self, version: str) -> bool:
        """Whether the scorer decides with this version."""
        return self.count("model_version", f'"{version}"') == 1

    def report(self, name: str, frauds: Sequence[str]) -> None:
        """Import the chargebacks that come in now: those that did not come in before."""
        new = [one for one in frauds if one not in self._reported]
        self._reported.update(new)
        path = self.folder / name
        tables.write_chargebacks(path, new, time.time_ns() // 1_000_000)
        self.command("stream-scorer", "labels", "import", str(path), "--origin", "CHARGEBACK")

    def files(self, name: str) -> tuple[str, ...]:
        """The flags that name a part of the table."""
        data = self.folder / "data"
        identity = str(data / "train_identity.csv")
        return ("--transactions", str(data / f"{name}.csv"), "--identity", identity)

    def published_by(self, training: subprocess.Popen[bytes]) -> str:
        """The version of a training that its gate has refused, which is what its exit code says."""
        self.until("the training", lambda: training.poll() is not None)
        self.children.remove(("train-worse", training))
        return self.version_of("train-worse")

    def version_of(self, training: str) -> str:
        """The version that a training has published, which its log names."""
        log = (self.folder / "logs" / f"{training}.log").read_text(errors="replace")
        for line in log.splitlines():
            with suppress(ValueError):
                if isinstance(found := json.loads(line), dict) and "version" in found:
                    return str(found["version"])
        return self.fail(training)
