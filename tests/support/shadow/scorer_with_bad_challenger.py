"""``stream-scorer run``, whose challengers do what ``BAD_CHALLENGER`` says.

For the thread that notices hung challengers a minute passes when the file ``LATER`` comes to be,
and no time before: on a busy machine a challenger may need longer than it may hang.
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
    """Seconds."""
    later = Path(os.environ["LATER"])
    return 60 + time.time() - later.stat().st_mtime if later.exists() else 0.0


if __name__ == "__main__":
    vars(shadowing)["PROGRAM"] = "tests.support.shadow.bad_challenger"
    vars(shadowing)["ShadowWorker"] = partial(ShadowWorker, clock=clock)
    sys.exit(main(["run"]))
