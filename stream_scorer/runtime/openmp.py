"""GNU OpenMP for LightGBM: the system's, or the copy in scikit-learn's wheel."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from typing import Final

from stream_scorer.errors import FatalError

LIBRARY: Final = "libgomp.so.1"
"""A library that LightGBM's Linux wheels need but do not contain; minimal systems lack it."""


@cache
def load_openmp() -> str:
    """Load OpenMP into this process if LightGBM needs that; returns where the library came from.

    A library that is loaded satisfies LightGBM only if its SONAME is the expected one. The copy in
    scikit-learn's wheel has another SONAME. So it is loaded from memory, with the SONAME replaced.

    Raises:
        FatalError: there is none; the message says how to install it.
    """
    if sys.platform != "linux":
        return "not needed on this system"
    try:
        ctypes.CDLL(LIBRARY)
        return LIBRARY
    except OSError:
        pass
    for path in _copies():
        try:
            _load_as(path, LIBRARY)
            return f"{LIBRARY} from {path}"
        except OSError:
            continue
    raise FatalError(
        f"LightGBM needs the library {LIBRARY}, which is not installed: "
        "install the package libgomp1 (Debian, Ubuntu) or libgomp (Fedora, Alpine)"
    )


def _copies() -> list[Path]:
    spec = importlib.util.find_spec("sklearn")  # finds it without importing it
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parents[1].glob("scikit_learn.libs/libgomp-*.so*"))


def _load_as(path: Path, soname: str) -> None:
    old, new = path.name.encode() + b"\0", soname.encode()
    content = path.read_bytes().replace(old, new.ljust(len(old), b"\0"))
    descriptor = os.memfd_create(soname)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        ctypes.CDLL(f"/proc/self/fd/{descriptor}", mode=ctypes.RTLD_GLOBAL)
