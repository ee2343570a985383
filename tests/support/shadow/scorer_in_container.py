"""A scorer's loop in memory with a challenger beside it, both in a container of limited memory.

``python -m tests.support.shadow.scorer_in_container CGROUP STORE`` reads the limit in ``CGROUP`` as
a scorer reads its own, and lets ``v2`` of the store do what ``BAD_CHALLENGER`` says. Afterwards it
prints what happened as one JSON value.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow import limits
from stream_scorer.shadow.apart import ProcessStarter, start_command
from tests.support.shadow.kit import make_shadowed
from tests.support.waiting import wait_until

_OWN_BYTES: Final = 64 * 1024 * 1024  # a model and some histories
_SEGMENT_BYTES: Final = 8_000_000
_SECONDS: Final = 60.0


def main(cgroup: Path, store: str) -> None:
    """Run until the challenger has ended, then go on."""
    own = np.ones(_OWN_BYTES // 8)
    read = partial(limits.read_memory, cgroup)
    memory = read()
    allowed = limits.memory_for_challenger(memory, _peak_bytes())
    settings = ScorerSettings(model_store_uri=store, shadow_spare_cpu_only=False, log_level="ERROR")
    program = start_command("tests.support.shadow.bad_challenger")
    challenger = ProcessStarter(program, settings, 1.0, 2, _SEGMENT_BYTES).start("v2", allowed)
    alone, beside = make_shadowed(None), make_shadowed(None)
    alone.drain()
    beside.worker.use(challenger)
    beside.drain()
    process = Path(f"/proc/{challenger.pid}")
    wait_until(lambda: not process.exists(), _SECONDS, what="the challenger to end")
    beside.worker.stop()
    after = read()
    own = np.concatenate([own, own])  # what was the challenger's is there for the scorer
    facts = {
        "limit": None if memory is None else memory.limit,
        "allowed": allowed,
        "used_after": None if after is None else after.used,
        "own": own.nbytes,
        "errors": beside.events.errors,
        "is_same": beside.output() == alone.output(),
        "outcomes": len(beside.output()),
    }
    sys.stdout.write(json.dumps(facts))


def _peak_bytes() -> int:
    """The most memory that this process has had.

    ``ru_maxrss`` would also count the process that has started this one, which is a large pytest.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
