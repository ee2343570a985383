"""The loop's processes, and its commands as a user would type them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import FatalError
from stream_scorer.local.folders import find_fullness
from stream_scorer.local.scrape import read_series
from stream_scorer.local.system import STEP_SECONDS, LocalSystem, say

_MODULES: Final = {
    "stream-scorer": "stream_scorer",
    "fraud-trainer": "trainer",
    "fraud-dashboard": "dashboard",
}
_ERROR_LINES: Final = 8
_ANSWER_SECONDS: Final = 30.0
_TICK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        """Its output as JSON.

        Raises:
            FatalError: it is none.
        """
        try:
            return json.loads(self.output)
        except ValueError:
            raise FatalError(f"its output is not JSON. It says: {self.last_error}") from None

    @property
    def last_error(self) -> str:
        """The last line of its messages."""
        lines = self.errors.strip().splitlines()
        return lines[-1] if lines else ""


class LoopSystem(LocalSystem):
    """Runs the commands of a story and remembers how long its steps took."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self.steps: list[dict[str, Any]] = []
        self.current = "start"

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """A step: says what happens, and remembers when it began and how long it took."""
        self.current = name
        self.tell(text)
        begun = time.monotonic()
        yield
        now = time.monotonic()
        at, seconds = round(begun - self.started, 1), round(now - begun, 1)
        self.steps.append({"step": name, "at": at, "seconds": seconds})

    def note(self, text: str) -> None:
        """Say what a result means."""
        say(f"          {text}")

    def command(self, *words: str, codes: tuple[int, ...] = (0,), longer: float = 0.0) -> Ran:
        """Run a command, and show it as a user would type it.

        It may take some minutes, and ``longer`` seconds more.

        Raises:
            FatalError: its exit code is none of ``codes``, or it takes too long.
        """
        limit = STEP_SECONDS + longer
        self.show(shlex.join(words))
        program, *arguments = words
        line = [sys.executable, "-m", _MODULES[program], *arguments]
        try:
            done = subprocess.run(
                line, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, errors="replace", timeout=limit, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FatalError(f"{program} did not finish within {limit:.0f} s") from None
        if done.returncode not in codes:
            if full := find_fullness(self.folder):
                raise FatalError(f"{shlex.join(words)} failed: {full}")
            last = done.stderr.strip().splitlines()[-_ERROR_LINES:]
            text = "\n".join(f"    {one}" for one in last)
            raise FatalError(f"{shlex.join(words)} ended with {done.returncode}:\n{text}")
        return Ran(done.returncode, done.stdout, done.stderr)

    def show(self, line: str) -> None:
        """Show a command line; the folder of all files is left out."""
        say(f"          $ {line.replace(f'{self.folder}/', '')}")

    def ask(self, url: str, body: Mapping[str, Any] | None = None, token: str = "") -> Any:
        """GET, or POST with a body; returns the JSON of the answer.

        Raises:
            FatalError: the answer is an error, or there is none.
        """
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers)  # noqa: S310 - our own address
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            text = error.read(500).decode(errors="replace")
            raise FatalError(f"{url} answered {error.code}: {text}") from error
        except (OSError, ValueError) as error:
            raise FatalError(f"{url} did not answer: {error}") from error

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition, as long as scorer and dashboard run.

        Raises:
            FatalError: it did not come true in time, or a process has ended.
        """
        deadline = time.monotonic() + STEP_SECONDS
        while not condition():
            self.check("scorer", "dashboard")
            if time.monotonic() > deadline:
                raise FatalError(f"waited {STEP_SECONDS:.0f} s in vain for {what}")
            time.sleep(_TICK_SECONDS)

    def count(self, name: str, label: str = "") -> float:
        """The sum of a metric of the scorer, over its series with this label; 0 if it is down."""
        try:
            series = read_series(self.url("/metrics"))
        except OSError:
            return 0.0
        return sum(value for key, value in series.items()
                   if key.partition("{")[0] == name and label in key)  # fmt: skip
