"""An in-memory fake of the input topic's backlog, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stream_scorer.observability.progress import Backlog
from stream_scorer.stream.memory_broker import MemoryCluster


class MemoryBacklog:
    """The records that the group has not committed; faults can be scripted for ``backlog``."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def backlog(self, partitions: Iterable[int]) -> Mapping[int, Backlog]:
        """Those of ``partitions`` that have records to read."""
        self._cluster.fail("backlog")
        found = {}
        for partition in partitions:
            start = self._cluster.committed.get(partition, 0)
            end = len(self._cluster.logs[self._cluster.topic, partition])
            if start < end:
                found[partition] = Backlog(start, end)
        return found

    def close(self) -> None:
        """There is nothing to close."""
