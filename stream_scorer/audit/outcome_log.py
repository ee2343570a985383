"""One partition of an outcome topic, as far as an audit has read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.digest import EMPTY_CHAIN, extend_chain
from stream_scorer.audit.findings import Outcomes


@dataclass(slots=True)
class OutcomeLog:
    """How far one partition of scores or dead letters has been read.

    Attributes:
        position: the offset to read next.
        reached: one more than the highest audited input of the partition of the same number that
            has an outcome here: the frontier of the merge.
        is_headless: outcomes were removed that were never read.
        first_source: the first input offset seen after what was removed; None without any.
        count: outcomes read in this run.
        chained: outcomes in the chain.
        chain: see :mod:`stream_scorer.audit.digest`.
    """

    position: int = 0
    reached: int = 0
    is_headless: bool = False
    first_source: int | None = None
    count: int = 0
    chained: int = 0
    chain: bytes = EMPTY_CHAIN

    def begin_run(self, low: int, *, is_resumed: bool = False) -> bool:
        """Go on where the last run stopped, or at ``low``, the first offset that is left.

        What an interrupted run had seen counts as seen.

        Returns:
            whether outcomes were removed before they were read.
        """
        if not is_resumed:
            self.is_headless = False
            self.first_source = None
            self.count = 0
        return self.lose(low)

    def lose(self, low: int) -> bool:
        """Whatever was before ``low`` is gone; whether any of it was not read yet."""
        if low <= self.position:
            return False
        self.is_headless = True
        self.position = low
        self.first_source = None  # whatever lay between is gone
        return True

    def read(self, outcomes: Outcomes) -> None:
        """Note what was read."""
        self.position = max(self.position, int(outcomes.offsets[-1]) + 1)
        self.count += len(outcomes)
        if self.first_source is None:
            own = np.flatnonzero(outcomes.source_partitions == outcomes.partition)
            self.first_source = int(outcomes.source_offsets[own[0]]) if len(own) else None

    def advance(self, outcomes: Outcomes) -> NDArray[np.bool_]:
        """Outcomes of audited inputs: into the chain; True for those after one of a later input."""
        self.chain = extend_chain(self.chain, outcomes.leaves)
        self.chained += len(outcomes)
        own = outcomes.source_partitions == outcomes.partition
        late = np.zeros(len(outcomes), np.bool_)
        sources = outcomes.source_offsets[own]
        if len(sources):
            highest = np.maximum.accumulate(np.concatenate([[self.reached - 1], sources]))
            late[own] = sources < highest[:-1]  # equal is a duplicate and counted as such
            self.reached = int(highest[-1]) + 1
        return late

    def judged_from(self, edge: int) -> int:
        """Inputs before it may have had outcomes that are gone."""
        if not self.is_headless:
            return 0
        return edge if self.first_source is None else self.first_source

    def as_state(self) -> dict[str, Any]:
        """For :meth:`from_state`."""
        return {**asdict(self), "chain": self.chain.hex()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OutcomeLog:
        """What :meth:`as_state` gave."""
        return cls(**{**state, "chain": bytes.fromhex(state["chain"])})
