"""One partition of an outcome topic, as far as an audit has read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.records.columns import Outcomes
from stream_scorer.audit.records.digest import EMPTY_CHAIN, extend_chain


@dataclass(slots=True)
class OutcomeLog:
    """How far one partition of scores or dead letters has been read.

    Attributes:
        position: the next offset to read.
        reached: the frontier of the merge: one more than the highest audited input offset, in the
            input partition with the same number, that has an outcome here.
        is_headless: outcomes were removed before they were read.
        first_source: the first input offset seen after the removed outcomes; None if there is none.
        count: number of outcomes read in this run.
        chained: number of outcomes in the chain.
        chain: see :mod:`stream_scorer.audit.records.digest`.
    """

    position: int = 0
    reached: int = 0
    is_headless: bool = False
    first_source: int | None = None
    count: int = 0
    chained: int = 0
    chain: bytes = EMPTY_CHAIN

    def begin_run(self, low: int, *, is_resumed: bool = False) -> bool:
        """Continue where the last run stopped, or at ``low``, the first offset that still exists.

        A resumed run keeps what the interrupted one had seen.

        Returns:
            Whether outcomes were removed before they were read.
        """
        if not is_resumed:
            self.is_headless = False
            self.first_source = None
            self.count = 0
        return self.lose(low)

    def lose(self, low: int) -> bool:
        """Records before ``low`` were removed; returns whether any of them had not been read."""
        if low <= self.position:
            return False
        self.is_headless = True
        self.position = low
        self.first_source = None  # outcomes in between may be gone
        return True

    def read(self, outcomes: Outcomes) -> None:
        """Note that these outcomes were read."""
        self.skip_to(int(outcomes.offsets[-1]) + 1)
        self.count += len(outcomes)
        if self.first_source is None:
            own = np.flatnonzero(outcomes.source_partitions == outcomes.partition)
            self.first_source = int(outcomes.source_offsets[own[0]]) if len(own) else None

    def read_unreadable(self, offset: int) -> None:
        """Note that the record at ``offset`` was read, but has no readable source coordinates."""
        self.skip_to(offset + 1)
        self.count += 1

    def skip_to(self, offset: int) -> None:
        """Everything before ``offset`` has been read."""
        self.position = max(self.position, offset)

    def append(self, outcomes: Outcomes) -> None:
        """Add outcomes of audited inputs to the chain."""
        self.chain = extend_chain(self.chain, outcomes.leaves)
        self.chained += len(outcomes)

    def advance(self, outcomes: Outcomes) -> NDArray[np.bool_]:
        """Advance the frontier by outcomes of audited inputs.

        Returns:
            True for each outcome that comes after the outcome of a later input.
        """
        own = outcomes.source_partitions == outcomes.partition
        late = np.zeros(len(outcomes), np.bool_)
        sources = outcomes.source_offsets[own]
        if len(sources):
            highest = np.maximum.accumulate(np.concatenate([[self.reached - 1], sources]))
            late[own] = sources < highest[:-1]  # equal is a duplicate and counted as such
            self.reached = int(highest[-1]) + 1
        return late

    def judged_from(self, edge: int) -> int:
        """Inputs before this offset may have had outcomes that were removed."""
        if not self.is_headless:
            return 0
        return edge if self.first_source is None else self.first_source

    def as_state(self) -> dict[str, Any]:
        """JSON values for :meth:`from_state`."""
        return {**asdict(self), "chain": self.chain.hex()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OutcomeLog:
        """Restore the result of :meth:`as_state`."""
        return cls(**{**state, "chain": bytes.fromhex(state["chain"])})
