"""One replica of the desk without HTTP, on any log, with flagged transactions in its cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cases.desk import Desk
from dashboard.cases.log import DeskLog
from tests.support.dashboard_kit import make_flag
from tests.support.desk.desk_kit import local_resolvers


@contextmanager
def running_desk(
    folder: Path,
    desk_log: DeskLog,
    flags: int = 4,
    input_topic: str = "transactions",
    clock: Callable[[], float] = time.time,
) -> Iterator[Desk]:
    """A desk that reads and writes. Its flags are ``0-0`` to ``0-3``, of transactions from 100."""
    table = folder / "flags.sqlite3"
    writer = FlagWriter(table, 1000)
    rows = [make_flag(offset, score=0.9, transaction_id=100 + offset) for offset in range(flags)]
    writer.save(rows, {0: flags}, Counts(), {})
    desk = Desk(desk_log, folder, table, local_resolvers(), input_topic, clock)
    desk.start()
    try:
        yield desk
    finally:
        desk.stop(10)
        writer.close()
