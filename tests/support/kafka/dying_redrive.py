"""``dlq redrive`` that kills itself with SIGKILL right after a call on its producer, for tests.

Argument: the name of the call. The first such call in a txn with records counts; the first txn has
none, because it only renews the progress.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from stream_scorer.__main__ import main
from stream_scorer.dead_letters import redrive
from stream_scorer.kafka.clients import open_producer

CALLS = ("begin_transaction", "produce", "flush", "send_offsets_to_transaction",
         "commit_transaction")  # fmt: skip


class DyingProducer:
    """Passes all calls on, and kills the process after the chosen one."""

    def __init__(self, producer: Any, call: str) -> None:
        self._producer = producer
        self._call = call
        self._begun = 0

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._producer, name)
        self._begun += name == "begin_transaction"
        if name != self._call or self._begun < 2:
            return inner

        def call(*args: Any, **kwargs: Any) -> None:
            inner(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        return call


if __name__ == "__main__":
    (last_call,) = sys.argv[1:]
    vars(redrive)["open_producer"] = lambda *args, **more: DyingProducer(
        open_producer(*args, **more), last_call
    )
    sys.exit(main(["dlq", "redrive"]))
