"""Sums up a replay: what stays the same, what moves, and what moves most. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.replay.columns import DECISIONS, Scored, Shown

MOST_MOVES: Final = 10

Explain = Callable[[int], Sequence[Shown]]
"""The reasons of a row of the current batch."""


@dataclass(frozen=True, slots=True)
class Move:
    """An input whose score moved far.

    Attributes:
        partition: of the input.
        offset: of the input.
        transaction: its transaction id.
        scores: what it had, and what it has now.
        decisions: the same.
        versions: the same.
        reasons: the same, strongest first.
    """

    partition: int
    offset: int
    transaction: int
    scores: tuple[float, float]
    decisions: tuple[str, str]
    versions: tuple[str, str]
    reasons: tuple[Sequence[Shown], Sequence[Shown]]

    @property
    def distance(self) -> float:
        """By how much the score moved."""
        return abs(self.scores[1] - self.scores[0])

    def as_json(self) -> dict[str, Any]:
        """JSON for the summary."""

        def side(at: int) -> dict[str, Any]:
            return {
                "score": self.scores[at],
                "decision": self.decisions[at],
                "model_version": self.versions[at],
                "reasons": [reason._asdict() for reason in self.reasons[at]],
            }

        return {
            "input": {"partition": self.partition, "offset": self.offset},
            "transaction_id": self.transaction,
            "before": side(0),
            "replayed": side(1),
        }


@dataclass(slots=True)
class Summary:
    """Counts the inputs of a replay; its size does not depend on their number.

    Attributes:
        inputs: inputs that were accepted and decoded.
        compared: inputs that both sides have a score for.
        equal: compared inputs whose score has the same bits and whose decision is the same.
        decisions: compared inputs by decision before (row) and now (column), int64 ``[3, 3]``.
        versions: compared inputs by the model version before.
        unscored: why inputs were not compared, with the number of each reason.
        moves: the compared inputs whose score moved most.
    """

    inputs: int = 0
    compared: int = 0
    equal: int = 0
    decisions: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 3), np.int64))
    versions: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)
    moves: list[Move] = field(default_factory=list)

    def add(
        self,
        partition: int,
        offsets: NDArray[np.int64],
        transactions: NDArray[np.int64],
        before: Scored,
        now: Scored,
        explain: tuple[Explain, Explain],
    ) -> None:
        """Add inputs of one partition; ``explain`` gives the reasons of both sides."""
        both = before.is_there & now.is_there
        self.inputs += len(offsets)
        self.compared += int(np.count_nonzero(both))
        is_equal = before.scores.view(np.int64) == now.scores.view(np.int64)
        self.equal += int(np.count_nonzero(both & is_equal & (before.decisions == now.decisions)))
        pairs = before.decisions[both].astype(np.int64) * 3 + now.decisions[both]
        self.decisions += np.bincount(pairs, minlength=9).reshape(3, 3)
        for code, number in enumerate(np.bincount(before.versions[both] + 1).tolist()):
            if number and code:
                self.versions[before.names[code - 1]] += number
        self.unscored.update(before.unscored)
        self.unscored.update(now.unscored)
        self._add_moves(partition, offsets, transactions, before, now, both, explain)

    @property
    def moved(self) -> int:
        """Compared inputs that get another decision."""
        return self.compared - int(np.trace(self.decisions))

    def flagged(self) -> tuple[int, int]:
        """Compared inputs that are not approved, before and now."""
        return (
            self.compared - int(self.decisions[0].sum()),
            self.compared - int(self.decisions[:, 0].sum()),
        )

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON."""
        before, now = self.flagged()
        return {
            "inputs": self.inputs,
            "compared": self.compared,
            "equal_bits": self.equal,
            "decisions_moved": self.moved,
            "decisions": {
                old: dict(zip(DECISIONS, row, strict=True))
                for old, row in zip(DECISIONS, self.decisions.tolist(), strict=True)
            },
            "flagged": {"before": before, "replayed": now},
            "flag_rate": {"before": self.share(before), "replayed": self.share(now)},
            "versions_before": dict(sorted(self.versions.items())),
            "not_compared": dict(self.unscored),
            "largest_moves": [move.as_json() for move in self.moves],
        }

    def share(self, number: int) -> float | None:
        """A number of compared inputs as a share of them; None without any."""
        return number / self.compared if self.compared else None

    def _add_moves(
        self,
        partition: int,
        offsets: NDArray[np.int64],
        transactions: NDArray[np.int64],
        before: Scored,
        now: Scored,
        both: NDArray[np.bool_],
        explain: tuple[Explain, Explain],
    ) -> None:
        distances = np.where(both, np.abs(now.scores - before.scores), 0.0)
        least = self.moves[-1].distance if len(self.moves) == MOST_MOVES else 0.0
        rows = np.flatnonzero(distances > least)
        rows = rows[np.argsort(-distances[rows], kind="stable")][:MOST_MOVES]
        found = [
            Move(
                partition,
                int(offsets[row]),
                int(transactions[row]),
                (float(before.scores[row]), float(now.scores[row])),
                (DECISIONS[before.decisions[row]], DECISIONS[now.decisions[row]]),
                (before.version(row) or "", now.version(row) or ""),
                (explain[0](row), explain[1](row)),
            )
            for row in rows.tolist()
        ]
        ordered = sorted([*self.moves, *found], key=_farthest_first)
        self.moves = ordered[:MOST_MOVES]


def _farthest_first(move: Move) -> tuple[float, int, int]:
    return -move.distance, move.partition, move.offset


def by_number(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons with their numbers, the commonest first."""
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
