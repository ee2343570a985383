"""Where features of the past come from when scores are computed again: the port to a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.batch import HistoryColumns
from stream_scorer.model.bundle import Bundle
from stream_scorer.state.inputs import InputRows


@dataclass(frozen=True, slots=True)
class HistoryUnknown:
    """Why a history is not known."""

    reason: str


class HistorySource(Protocol):
    """Computes the features of the past of inputs, which it is given in order.

    For each history spec it gets the accepted inputs of a partition in offset order, each once.
    Where they do not follow on those before, as at the first call, it finds the state itself.
    """

    def changes(self, bundle: Bundle, partition: int) -> Sequence[int]:
        """Offsets from which on another history is used, or it is not known which one."""
        ...

    def attach(self, bundle: Bundle, rows: InputRows) -> HistoryColumns | HistoryUnknown:
        """The features of these inputs that a bundle with history reads; the state advances.

        The inputs lie between two of :meth:`changes`.
        It is called once for each batch of inputs and history spec, with any bundle of that spec.
        """
        ...

    def lose(self, partition: int, reason: str) -> None:
        """Inputs that come next in a partition cannot be given: the state cannot advance."""
        ...

    def check_sum(
        self, partition: int, offset: int, mark: Mapping[str, str]
    ) -> str | HistoryUnknown:
        """The check sum of a partition's state before ``offset``, as a mark has it (``sum``).

        Args:
            partition: the partition.
            offset: a committed offset.
            mark: the fields of its mark, such as ``era``.
        """
        ...


class NoHistorySource:
    """Knows no history: scores of bundles that read one are not judged."""

    def changes(self, bundle: Bundle, partition: int) -> Sequence[int]:
        """None are known."""
        del bundle, partition
        return ()

    def attach(self, bundle: Bundle, rows: InputRows) -> HistoryColumns | HistoryUnknown:
        """Always unknown."""
        del rows
        return HistoryUnknown(f"the history that version {bundle.version} reads is not available")

    def lose(self, partition: int, reason: str) -> None:
        """Nothing depends on it."""

    def check_sum(
        self, partition: int, offset: int, mark: Mapping[str, str]
    ) -> str | HistoryUnknown:
        """Always unknown."""
        del partition, offset, mark
        return HistoryUnknown("card histories are not available")
