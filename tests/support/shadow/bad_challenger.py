"""The challenger's process, with a model that does what ``BAD_CHALLENGER`` says, batch by batch.

``python -m tests.support.shadow.bad_challenger`` takes the arguments of the real one. The words are
separated by commas: ``score``, ``raise``, ``memory`` (2 GiB), ``shared`` (2 GiB that no limit of a
process counts), ``slow`` (native code without the GIL), ``hang`` (native code with the GIL, for
good), ``die``. The last word goes on. If ``load`` is the only one, the version takes 2 GiB to load.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

import numpy as np

from stream_scorer.process import challenger
from stream_scorer.shadow.models import BundleModel, Scored
from stream_scorer.stream.outcome import ScoredPart
from stream_scorer.stream.ports import Polled

_GIB: Final = 1024**3
_SLOW_MICROSECONDS: Final = 300_000
_LONG_SECONDS: Final = 3600


class BadModel(BundleModel):
    """A challenger that misbehaves."""

    def score_parts(self, polled: Polled, parts: Sequence[ScoredPart]) -> Iterator[Scored]:
        words = os.environ["BAD_CHALLENGER"].split(",")
        self.batches: int = getattr(self, "batches", 0) + 1
        misbehave(words[min(self.batches, len(words)) - 1])
        return super().score_parts(polled, parts)


def misbehave(how: str) -> None:
    """Do it once."""
    if how == "raise":
        raise ZeroDivisionError("no such leaf")
    if how == "memory":
        take_memory()
    if how == "shared":
        take_shared_memory()
    if how == "slow":
        ctypes.CDLL(None).usleep(_SLOW_MICROSECONDS)
    if how == "hang":
        ctypes.PyDLL(None).sleep(_LONG_SECONDS)
        time.sleep(_LONG_SECONDS)
    if how == "die":
        ctypes.string_at(0)


def take_memory(*_: object) -> NoReturn:
    """Take 2 GiB, and fail if there are any."""
    held = [np.ones(_GIB // 8) for _ in range(2)]
    raise AssertionError(f"{sum(one.nbytes for one in held)} bytes were there")


def take_shared_memory() -> NoReturn:
    """Take 2 GiB of shared memory, page by page, and fail if there are any."""
    held = mmap.mmap(-1, 2 * _GIB)
    for at in range(0, len(held), mmap.PAGESIZE):
        held[at] = 1
    raise AssertionError(f"{len(held)} bytes were there")


class NoSink:
    """Where no broker is: the scores go nowhere."""

    topic = "fraud-scores-shadow"

    def __init__(self, *_: object) -> None:
        """Take what the real one takes."""

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def head(self) -> bytes | None:
        """Nothing can be published."""
        return None

    def send(self, records: Sequence[object]) -> int:
        """Nothing is."""
        return len(records)

    def close(self) -> None:
        """There is nothing to close."""


if __name__ == "__main__":
    vars(challenger)["BundleModel"] = BadModel
    if "BAD_CHALLENGER_ALONE" in os.environ:
        vars(challenger)["KafkaSink"] = NoSink
    if os.environ["BAD_CHALLENGER"] == "load":
        vars(challenger)["load_bundle"] = take_memory
    code = challenger.main(sys.argv[1:])
    os._exit(code)
