"""An environment in which the system's OpenMP library cannot be loaded."""

from __future__ import annotations

import os
from pathlib import Path

from stream_scorer.runtime.openmp import LIBRARY


def without_openmp(folder: Path) -> dict[str, str]:
    """This environment, in which the loader finds an empty file instead of the system's library.

    The loader takes the first file of that name and gives up if it is no library, so this works
    without root; it reaches child processes too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LIBRARY).touch()
    return os.environ | {"LD_LIBRARY_PATH": str(folder)}
