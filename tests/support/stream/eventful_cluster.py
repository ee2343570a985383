"""A broker on which something happens in the middle of an operation."""

from __future__ import annotations

from collections.abc import Callable

from stream_scorer.stream.memory_broker import MemoryCluster


class Meanwhile(Exception):
    """Not a fault: something that happens during the operation."""

    def __init__(self, happen: Callable[[], object]) -> None:
        super().__init__("something happened meanwhile")
        self.happen = happen


class EventfulCluster(MemoryCluster):
    """A cluster whose script may also contain events that are not faults."""

    def fail(self, operation: str) -> None:
        try:
            super().fail(operation)
        except Meanwhile as event:
            event.happen()
