"""Ctrl-C while a command is still loading its modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Ctrl-C at the first import of a module of ours: nothing of ours may load before main() runs.
INTERRUPTED = """
import signal, sys
from importlib.abc import MetaPathFinder

package = sys.argv[1]

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        ours = name.partition(".")[0] in ("schemas", "stream_scorer", "trainer", "dashboard")
        if ours and name not in (package, f"{package}.__main__"):
            print("at", name, flush=True)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)
main = __import__(f"{package}.__main__", fromlist=["main"]).main
sys.exit(main(["--version"]))
"""


@pytest.mark.parametrize("package", ["stream_scorer", "trainer", "dashboard"])
def test_interrupt_while_modules_load_exits_quietly_with_130(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, package],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stdout.startswith("at "), "nothing was imported"
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert done.returncode == 130
