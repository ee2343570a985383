"""What ``/predict`` asks of card histories, and what it is given for each transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from dashboard.model_status import ModelSource
from schemas.batch import HistoryColumns, TransactionBatch
from stream_scorer.features.history.card_record import PastTransaction
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.runtime.json_fields import format_time
from stream_scorer.runtime.text import printable

Mode = Literal["none", "snapshot", "follow"]

OFF: Final = "off"
LOADING: Final = "the history is being loaded"
NO_CARD: Final = "the transaction has no card1"

PLAIN_PROBLEM: Final = (
    "there is a problem with the card histories of /predict, and people with the role ops or lead "
    "see the reason"
)
"""What everybody reads of a problem, whose own text may name hosts and buckets."""

_REASON_MAX_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Past:
    """The features of the past of a request's transactions, and what they are based on.

    Attributes:
        columns: None if no transaction has any.
        notes: by transaction, the member ``history`` of its result.
    """

    columns: HistoryColumns | None
    notes: list[dict[str, Any]]

    @property
    def used(self) -> int:
        """Transactions that were scored with the history of their card."""
        return sum(note["used"] for note in self.notes)


@dataclass(frozen=True, slots=True)
class Recent:
    """The last transactions that a card's record remembers.

    Attributes:
        space: the key space of the record.
        transactions: newest first.
        as_of: every transaction that was committed by then is known.
        is_included: whether the transaction that was asked about is one of them.
    """

    space: str
    transactions: list[PastTransaction]
    as_of: datetime
    is_included: bool


@dataclass(frozen=True, slots=True)
class HistoryStatus:
    """Which histories ``/predict`` uses.

    Attributes:
        mode: ``PREDICT_HISTORY``.
        era: the number of the era; None until one is found.
        partitions: of the era.
        loaded: how many of them have a history.
        as_of: the age of the oldest one of these.
        nbytes: their memory.
        damaged: snapshots that could not be used, since the start.
        problem: why a history is missing or gets older; empty if there is none.
    """

    mode: Mode
    era: int | None = None
    partitions: int = 0
    loaded: int = 0
    as_of: datetime | None = None
    nbytes: int = 0
    damaged: int = 0
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether every partition has the history that the mode asks for."""
        return self.mode == "none" or 0 < self.partitions == self.loaded

    @property
    def plain_problem(self) -> str:
        """The problem in words for everybody. Empty if there is none."""
        return PLAIN_PROBLEM if self.problem else ""

    def as_json(self, *, in_full: bool) -> dict[str, Any]:
        """For people and programs. ``in_full``, ``detail`` may name hosts and buckets."""
        detail = short(self.problem) if in_full else self.plain_problem
        return {
            "mode": self.mode,
            "era": self.era,
            "partitions": self.partitions,
            "loaded": self.loaded,
            "as_of": None if self.as_of is None else format_time(self.as_of),
            "bytes": self.nbytes,
            "detail": detail,
        }


class Histories(Protocol):
    """Card histories to score requests with. Safe to use from any thread."""

    def read(self, batch: TransactionBatch, spec: HistorySpec) -> Past:
        """The features of the past of each transaction; transactions do not see each other.

        Args:
            batch: with every column.
            spec: the history of the bundle that is going to score the batch.
        """
        ...

    def recent(self, context: Mapping[str, Any]) -> Recent | None:
        """The last transactions of the card of a flagged transaction; None if they are not known.

        Args:
            context: the columns that come with its score.
        """
        ...

    def status(self) -> HistoryStatus | None:
        """Which histories there are; None if the loaded model reads no history."""
        ...


class NoHistories:
    """``PREDICT_HISTORY=none``: features of the past are missing, and each answer says so."""

    def __init__(self, model: ModelSource) -> None:
        self._model = model

    def read(self, batch: TransactionBatch, spec: HistorySpec) -> Past:
        """Nothing is known."""
        del spec
        return read_nothing(batch)

    def recent(self, context: Mapping[str, Any]) -> Recent | None:
        """Nothing is known."""
        del context
        return None

    def status(self) -> HistoryStatus | None:
        """That it is off."""
        return None if spec_of(self._model) is None else HistoryStatus("none")


def read_nothing(batch: TransactionBatch) -> Past:
    """What is known of the past without card histories."""
    return Past(None, [not_used(OFF)] * len(batch))


def spec_of(model: ModelSource) -> HistorySpec | None:
    """The history that the loaded model reads; None if it reads none, or no model is loaded."""
    bundle = model.current
    return None if bundle is None else bundle.features.program.history


def used_note(as_of: datetime, partition: int, offset: int) -> dict[str, Any]:
    """The member ``history`` of a result that used the state before an offset of a partition."""
    return {"used": True, "as_of": format_time(as_of), "partition": partition, "offset": offset}


def not_used(reason: str) -> dict[str, Any]:
    """The member ``history`` of a result without history."""
    return {"used": False, "reason": short(reason)}


def short(reason: str) -> str:
    """A reason, which may quote what others wrote, for one line of an answer."""
    shown = printable(reason)
    return shown if len(shown) <= _REASON_MAX_CHARACTERS else shown[:_REASON_MAX_CHARACTERS] + "…"
