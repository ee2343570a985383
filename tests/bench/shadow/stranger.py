"""A scorer's loop that has nothing to do with the one that is measured beside it.

Standard input lets it score (``g``) and wait (``p``); it answers with a dot.
"""

from __future__ import annotations

import os
import select
import sys

from stream_scorer.cli.run import SWITCH_SECONDS
from tests.bench.shadow.free import make_broker, make_loop, make_pipeline, make_scene
from tests.bench.shadow.pinned import CHALLENGER_CPU, pin
from tests.bench.shadow.runs import RowCounter


def main() -> int:
    """Score what is asked for, until standard input ends."""
    sys.setswitchinterval(SWITCH_SECONDS)
    _, bundle, values = make_scene()
    pin(CHALLENGER_CPU, priority=1)
    loop = make_loop(make_broker(values), make_pipeline(), bundle, RowCounter())
    for _ in range(10):
        loop.run_once()
    is_on = False
    os.write(1, b".")
    while True:
        if not is_on or select.select([0], [], [], 0)[0]:
            word = os.read(0, 1)
            if not word:
                return 0
            is_on = word == b"g"
            os.write(1, b".")
        if is_on:
            loop.run_once()


if __name__ == "__main__":
    os._exit(main())
