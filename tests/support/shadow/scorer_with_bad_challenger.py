"""``stream-scorer run``, whose challengers do what ``BAD_CHALLENGER`` says.

Once the file ``LATER`` exists, a minute has passed for the thread that notices hung challengers.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from stream_scorer.__main__ import main
from stream_scorer.process import shadowing
from stream_scorer.shadow.worker import ShadowWorker


def clock() -> float:
    """Monotonic seconds."""
    return time.monotonic() + 60 * Path(os.environ["LATER"]).exists()


if __name__ == "__main__":
    vars(shadowing)["PROGRAM"] = "tests.support.shadow.bad_challenger"
    vars(shadowing)["ShadowWorker"] = partial(ShadowWorker, clock=clock)
    sys.exit(main(["run"]))
