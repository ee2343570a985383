"""Why a transaction has other history features in the file than in the topic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from schemas.contracts import TIME
from stream_scorer.features.history.spec import HistorySpec, KeySpace
from trainer.skew.sides import Places, Side, Start, Value

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Difference:
    """A transaction with other features in the file than in the topic.

    Attributes:
        transaction: its ``TransactionID``.
        file, topic: where it is.
        feature: the first that differs; None if the transactions of its card alone give no
            difference.
        text: the feature in words.
        file_value, topic_value: of that feature; None for no value.
        why: the first fault of the inputs.
    """

    transaction: int
    file: str
    topic: str
    feature: str | None
    text: str | None
    file_value: float | None
    topic_value: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Index:
    """One side, and the first row of each ``TransactionID``."""

    side: Side
    ids: Places
    rows: Places

    def find(self, transaction: int) -> int | None:
        """The first row of a transaction; None if it is not there."""
        at = int(np.searchsorted(self.ids, transaction))
        if at == len(self.ids) or self.ids[at] != transaction:
            return None
        return int(self.rows[at])

    def place(self, transaction: int) -> str:
        """Where a transaction is."""
        row = self.find(transaction)
        return "nowhere" if row is None else self.side.place(row)

    def named(self, transaction: int) -> str:
        """A transaction and where it is."""
        return f"transaction {transaction} ({self.place(transaction)})"


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A transaction's row on one side, and the earlier ones of a key that advance its history."""

    index: Index
    row: int
    ids: list[int]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Finds the first fault of the inputs behind a difference.

    Attributes:
        spec: the features.
        file, topic: the sides.
        start: the histories that both begin with.
    """

    spec: HistorySpec
    file: Index
    topic: Index
    start: Start

    def explain(self, file_row: int, topic_row: int) -> Difference:
        """The difference of one transaction, given its row on each side."""
        file, topic = self.file.side, self.topic.side
        ours = file.features(self.spec, self.start, file_row)
        theirs = topic.features(self.spec, self.start, topic_row)
        differs = np.flatnonzero(ours.view(np.uint64) != theirs.view(np.uint64))
        at = int(differs[0]) if len(differs) else None
        name = None if at is None else self.spec.names[at]
        return Difference(
            int(file.batch.ids[file_row]),
            file.place(file_row),
            topic.place(topic_row),
            name,
            None if name is None else self.spec.texts[name],
            None if at is None else _plain(ours[at]),
            None if at is None else _plain(theirs[at]),
            self._why(file_row, topic_row, at),
        )

    def _why(self, file_row: int, topic_row: int, feature: int | None) -> str:
        if (other := self._other_value(file_row, topic_row)) is not None:
            return f"other value: {other}"
        if feature is None:
            return (
                "the transactions of its card alone give no difference: it depends on when an "
                "expired record was removed, which takes transactions more than 7 days late"
            )
        space = self._space_of(feature)
        ours = _earlier(self.file.side, space, file_row, self.start.as_of)
        theirs = _earlier(self.topic.side, space, topic_row, self.start.as_of)
        return self._first_fault(
            _Earlier(self.file, file_row, ours), _Earlier(self.topic, topic_row, theirs)
        )

    def _first_fault(self, file: _Earlier, topic: _Earlier) -> str:
        """Where two lists of earlier transactions part."""
        pairs: Iterable[tuple[int | None, int | None]] = zip_longest(file.ids, topic.ids)
        for one, other in pairs:
            if one == other and one is not None:
                if (value := self._other_value_of(one)) is not None:
                    return f"other value: of the earlier transaction {one}, {value}"
            elif one is not None and one not in topic.ids:
                return self._missing(one, file, topic)
            elif other is not None and other not in file.ids:
                return self._missing(other, topic, file)
            elif other is not None and topic.ids.count(other) > file.ids.count(other):
                return _repeated(other, topic)
            elif one is not None and file.ids.count(one) > topic.ids.count(one):
                return _repeated(one, file)
            elif one is not None:
                return (
                    f"other order: {file.index.named(one)} is before transaction {other} in the "
                    f"file, and after it in the topic ({topic.index.place(one)})"
                )
        return "nothing that the histories read differs: please report this"

    def _missing(self, transaction: int, having: _Earlier, lacking: _Earlier) -> str:
        """An earlier transaction of the key on one side that the other side does not have there."""
        here, there, before = having.index, lacking.index, lacking.row
        row = there.find(transaction)
        named = here.named(transaction)
        known = f"the earlier {named} is in {here.side.name}"
        if row is None:
            return f"missing earlier row: {known} and not in {there.side.name}"
        if (value := self._other_value_of(transaction)) is not None:
            return f"other value: {known} with another key, {value}"
        if not there.side.advances[row]:
            return f"missing earlier row: {known}, and does not count in {there.side.name}"
        partitions = there.side.partitions
        if partitions[row] != partitions[before]:
            return (
                f"missing earlier row: {known}, and in another partition of {there.side.name} "
                f"({there.side.place(row)}): its producer does not key by card1 with murmur2"
            )
        return (
            f"other order: {known} before it, and later in {there.side.name} "
            f"({there.side.place(row)})"
        )

    def _other_value_of(self, transaction: int) -> str | None:
        file_row, topic_row = self.file.find(transaction), self.topic.find(transaction)
        if file_row is None or topic_row is None:
            return None
        return self._other_value(file_row, topic_row)

    def _other_value(self, file_row: int, topic_row: int) -> str | None:
        """The first column that the histories read and that differs, with both values."""
        for column in (TIME, *self.spec.columns):
            ours = self.file.side.value(file_row, column)
            theirs = self.topic.side.value(topic_row, column)
            if ours != theirs:
                return f"{column} is {_shown(ours)} in the file and {_shown(theirs)} in the topic"
        return None

    def _space_of(self, feature: int) -> KeySpace:
        for space in self.spec.spaces:
            if feature < len(space.named):
                return space
            feature -= len(space.named)
        raise IndexError(feature)


def _earlier(side: Side, space: KeySpace, row: int, as_of: int) -> list[int]:
    """The earlier transactions with the same key that advance its history, in order."""
    key, ids = _key(side, space, row), side.batch.ids
    found: list[int] = []
    for other in side.of_card(row).tolist()[:-1]:
        counts = side.advances[other] and side.batch.times[other] > as_of
        if counts and _key(side, space, other) == key and found[-1:] != [int(ids[other])]:
            found.append(int(ids[other]))  # directly again, it would not advance
    return found


def _repeated(transaction: int, more: _Earlier) -> str:
    return f"repeated row: transaction {transaction} is more than once in {more.index.side.name}"


def _key(side: Side, space: KeySpace, row: int) -> tuple[Any, ...]:
    """The key of a transaction; one that equals nothing if it has none."""
    key: list[Value] = [side.value(row, column) for column in space.key]
    if space.start_day is not None:
        days = side.value(row, space.start_day)
        if not isinstance(days, float):
            return (object(),)
        key.append(int(side.batch.times[row]) // _DAY - math.floor(days))
    return tuple(key)


def _plain(value: float) -> float | None:
    return None if value != value else float(value)


def _shown(value: Value) -> str:
    return "missing" if value is None else repr(value)
