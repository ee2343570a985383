"""Runs the unit tests in two processes: ``python -m tests.unit_in_halves [PYTEST ARGUMENTS]``.

Unit tests use no socket and no shared files, so two processes do not disturb each other. The first
half has the folders that take longest together, as measured; every other folder is in the second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

UNIT: Final = Path(__file__).with_name("unit")
FIRST_HALF: Final = ("schemas", "house", "audit", "cli", "dashboard", "stream")
NO_TESTS: Final = 5  # pytest's exit code if nothing was selected


def halves() -> tuple[list[str], list[str]]:
    """The folders of each half; together they are all folders of the unit tests."""
    folders = sorted(p.name for p in UNIT.iterdir() if p.is_dir() and p.name != "__pycache__")
    first = [str(UNIT / name) for name in folders if name in FIRST_HALF]
    second = [str(UNIT / name) for name in folders if name not in FIRST_HALF]
    return first, second


def main() -> int:
    """Run both halves, print the output of each, and return the first exit code that is not 0."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *sys.argv[1:]]
    with tempfile.TemporaryFile() as output:
        other = subprocess.Popen([*command, *halves()[1]], stdout=output, stderr=subprocess.STDOUT)
        codes = [subprocess.run([*command, *halves()[0]], check=False).returncode, other.wait()]
        output.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(output.read())
    if codes == [NO_TESTS, NO_TESTS]:
        return NO_TESTS
    return next((code for code in codes if code not in (0, NO_TESTS)), 0)


if __name__ == "__main__":
    sys.exit(main())
