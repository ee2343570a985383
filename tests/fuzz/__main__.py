"""``make fuzz``: random and damaged input for whatever reads data of others.

Each runs in its own process, so that a crash or a hang of the interpreter is detected.
The last line of standard output is a JSON object with the figures.
"""

from __future__ import annotations

import argparse
import json
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, Any, Final

from tests.fuzz.child import run_child

COUNTS: Final = {
    "decode": 1_000_000,
    "messages": 100_000,
    "csv": 5_000,
    "files": 5_000,
    "registry": 1_000,
    "features": 20_000,
    "histories": 50_000,
    "http": 500,
}
"""Records, files, answers and examples for each operation."""

HANG_SECONDS: Final = {
    "decode": 60.0,
    "messages": 60.0,
    "csv": 60.0,
    "files": 60.0,
    "registry": 120.0,
    "features": 60.0,
    "histories": 60.0,
    "http": 1800.0,
}
"""Without output for this long, the target hangs; the HTTP fuzzer prints only at its end."""

MAX_GROWTH_MIB: Final = 64.0
"""Allowed growth after the first fifth, in which pools and allocators fill."""

_PROGRESS_SECONDS: Final = 5.0


@dataclass
class Run:
    """One target's run: its figures and its problem, if any."""

    target: str
    seed: int
    figures: dict[str, Any] = field(default_factory=dict)
    rss: list[float] = field(default_factory=list)
    problem: str | None = None
    seconds: float = 0.0

    @property
    def growth_mib(self) -> float:
        """Memory growth from the end of the first fifth to the end."""
        return round(self.rss[-1] - self.rss[len(self.rss) // 5], 1) if self.rss else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "seed": self.seed,
            **self.figures,
            "peak_rss_mib": max(self.rss, default=0.0),
            "growth_mib": self.growth_mib,
            "seconds": round(self.seconds, 1),
            "problem": self.problem,
        }


def child_command(target: str, count: int, seed: int) -> list[str]:
    """The command line of the fuzzed process."""
    command = [sys.executable, "-m", "tests.fuzz", "--child", target]
    return [*command, "--count", str(count), "--seed", str(seed)]


def fuzz(target: str, count: int, seed: int, limit_seconds: float, command: list[str]) -> Run:
    """Fuzz one target in a child process and watch it."""
    run = Run(target, seed)
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            try:
                assert child.stdout is not None
                _watch(run, child.stdout, count, started + limit_seconds)
                if run.problem is not None:
                    child.send_signal(signal.SIGABRT)  # it prints the stack of every thread
                code = child.wait(30)
            finally:
                child.kill()
            run.seconds = time.monotonic() - started
        errors.seek(0)
        if code != 0:
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            run.problem = f"{run.problem or how}: {errors.read()[-4000:]}"
    if run.problem is None and run.growth_mib > MAX_GROWTH_MIB:
        run.problem = f"memory grew by {run.growth_mib} MiB"
    return run


def _watch(run: Run, lines: IO[str], count: int, deadline: float) -> None:
    """Read the child's lines until it ends, hangs or times out."""
    said = time.monotonic()
    while True:
        if not select.select([lines], [], [], HANG_SECONDS[run.target])[0]:
            run.problem = f"hang: nothing for {HANG_SECONDS[run.target]:.0f} s"
            return
        line = lines.readline()
        if not line:
            return
        run.figures = json.loads(line)
        run.rss.append(run.figures.pop("rss_mib"))
        now = time.monotonic()
        if now > deadline:
            run.problem = "out of time (--seconds)"
            return
        if now - said > _PROGRESS_SECONDS:
            said = now
            _say(f"  {run.figures} of {count:,}, {run.rss[-1]:.0f} MiB")


def main() -> int:
    """Returns exit code 0 if no problem was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", choices=sorted(COUNTS), action="append")
    parser.add_argument("--count", type=int, help="records, files or examples")
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    parser.add_argument("--seconds", type=float, default=1800.0, help="for each target at most")
    parser.add_argument("--child", choices=sorted(COUNTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    if arguments.child:
        return run_child(arguments.child, arguments.count, seed)
    runs = []
    for target in arguments.only or COUNTS:
        count = arguments.count or COUNTS[target]
        _say(f"{target}: {count:,}, seed {seed}")
        command = child_command(target, count, seed)
        runs.append(fuzz(target, count, seed, arguments.seconds, command))
        _say(f"  {runs[-1].problem or 'nothing found'}")
    sys.stdout.write(json.dumps([run.as_json() for run in runs]) + "\n")
    return 1 if any(run.problem for run in runs) else 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
