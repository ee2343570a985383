"""The labels that stand: the last one of each transaction, and the last of each origin. Pure.

The last record stands. Only of an analyst's decisions the last one made stands, because one that
waited while Kafka was down is written late (:mod:`stream_scorer.labels.order`).

A label takes 62 bytes, and only those that may still stand are kept, so that memory is bounded by
the number of labelled transactions and not by the length of the topic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.labels.labels import ORIGINS, UNSURE, VALUES

ROW: Final = np.dtype(
    [
        ("id", "i8"),
        ("origin", "i1"),
        ("value", "i1"),
        ("partition", "i4"),
        ("offset", "i8"),
        ("decided_at", "i8"),
        ("score", "f8"),
        ("version", "i4"),
        ("topic", "i4"),
        ("source_partition", "i4"),
        ("source_offset", "i8"),
        ("supersedes", "i8"),
    ]
)
"""One label: ``TransactionID``, index into ``ORIGINS``, ``FRAUD``, ``LEGITIMATE`` or ``UNSURE``,
its place in the labels topic, when it was decided (epoch milliseconds), the score it was decided on
(NaN if it states none), its model version (index into ``versions``, or -1), and the source of the
input (``topic`` is an index into ``topics``, or -1), and the offset of the label that it
supersedes, in its own partition (or -1)."""

Rows = NDArray[np.void]

_ANALYST: Final = ORIGINS.index("ANALYST")
_WITHDRAWN: Final = -2  # while it is collected; it says no more than UNSURE
_CHUNK: Final = 50_000  # labels as Python objects, before they become rows
_MOST_NAMES: Final = 10_000  # versions or topics; a topic of random names must not fill the memory
_NAME_CHARS: Final = 249  # the longest name of a topic
_OTHERS: Final = "(others)"
_OFFSET_DIGITS: Final = 19  # of 2^63
_INT32: Final = np.iinfo(np.int32)
_INT64: Final = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class StandingLabels:
    """What stands at the end of what was read.

    Attributes:
        last: the last label of each transaction, in ascending order of ``id``; dtype ``ROW``.
        by_origin: the last label of each transaction and origin, by ``id`` and ``origin``.
        versions: names of model versions, by code.
        topics: names of source topics, by code.
        records: records read.
        bad: records among them that are no labels.
        named: the first of those, each with its place and the reason.
    """

    last: Rows
    by_origin: Rows
    versions: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    records: int = 0
    bad: int = 0
    named: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of labelled transactions."""
        return len(self.last)

    def of_origin(self, origin: str) -> Rows:
        """The last label that an origin gave each transaction, in ascending order of ``id``."""
        found: Rows = self.by_origin[self.by_origin["origin"] == ORIGINS.index(origin)]
        return found


class StandingTable:
    """Collects labels, and drops those that no longer stand. Used by one thread."""

    def __init__(self) -> None:
        self._kept = np.empty(0, ROW)
        self._chunk: list[tuple[Any, ...]] = []
        self._versions = _Names()
        self._topics = _Names()

    def add(
        self,
        partition: int,
        offset: int,
        label: Mapping[str, Any],
        *,
        is_withdrawal: bool = False,
    ) -> None:
        """Add a decoded label by its place. Fields that nobody checked may hold anything."""
        source = _source(label.get("source"))
        topic = -1 if source is None else self._topics.code(source[0])
        version = label.get("model_version")
        origin, value = ORIGINS.index(label["origin"]), VALUES[label["label"]]
        self._chunk.append(
            (
                label["transaction_id"],
                origin,
                _WITHDRAWN if is_withdrawal and origin == _ANALYST else value,
                partition,
                offset,
                label["decided_at"],
                _probability(label.get("score")),
                self._versions.code(version) if isinstance(version, str) else -1,
                topic,
                *((-1, -1) if source is None else source[1:]),
                _superseded(partition, offset, label.get("supersedes")),
            )
        )
        if len(self._chunk) >= _CHUNK:
            self._compact()

    def build(self, records: int = 0, bad: int = 0, named: tuple[str, ...] = ()) -> StandingLabels:
        """The labels that stand among those that were added."""
        self._compact()
        rows = self._kept
        last = _without_withdrawn(last_records(rows), rows)
        by_origin = _latest(rows, ("id", "origin"))
        for found in (last, by_origin):
            found["value"][found["value"] == _WITHDRAWN] = UNSURE
        return StandingLabels(
            last, by_origin, self._versions.names, self._topics.names, records, bad, named
        )

    def _compact(self) -> None:
        if self._chunk:
            fresh = np.array(self._chunk, ROW)
            self._chunk = []
            rows = _without_superseded(np.concatenate([self._kept, fresh]))
            self._kept = _last_of_origins(rows)


def last_records(rows: Rows) -> Rows:
    """The last record of each transaction among rows, in ascending order of ``id``."""
    return _latest(_ends(rows, ("id", "partition"), ("offset",)), ("id",))


def _without_withdrawn(last: Rows, rows: Rows) -> Rows:
    """Let what another origin said stand again, where an analyst took the last decision back."""
    withdrawn = last["id"][last["value"] == _WITHDRAWN]
    others = rows[(rows["origin"] != _ANALYST) & np.isin(rows["id"], withdrawn)]
    again = last_records(others)
    kept = last[~np.isin(last["id"], again["id"])]
    return _ends(np.concatenate([kept, again]), ("id",), ())


class _Names:
    """Names as codes."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._codes)

    def code(self, name: str) -> int:
        name = name[:_NAME_CHARS]
        if name not in self._codes and len(self._codes) >= _MOST_NAMES:
            name = _OTHERS
        return self._codes.setdefault(name, len(self._codes))


def _without_superseded(rows: Rows) -> Rows:
    """The rows that no other row of their transaction and origin names, whatever their time.

    The rule is that of :func:`stream_scorer.labels.order.stands_over`.
    """
    corrections = rows[rows["supersedes"] >= 0]
    if not len(corrections):
        return rows
    own = ("id", "origin", "partition")
    named = set(zip(*(corrections[n].tolist() for n in (*own, "supersedes")), strict=True))
    is_out = np.isin(rows["id"], corrections["id"])
    candidates = rows[is_out]
    places = zip(*(candidates[n].tolist() for n in (*own, "offset")), strict=True)
    is_out[is_out] = [place in named for place in places]
    found = rows[~is_out]
    found["supersedes"] = -1  # what it named is before it, and out
    return found


def _last_of_origins(rows: Rows) -> Rows:
    """What stands of each transaction and origin in each partition."""
    is_analyst = rows["origin"] == _ANALYST
    key = ("id", "origin", "partition")
    return np.concatenate(
        [
            _ends(rows[is_analyst], key, ("decided_at", "offset")),
            _ends(rows[~is_analyst], key, ("offset",)),
        ]
    )


def _latest(rows: Rows, keys: tuple[str, ...]) -> Rows:
    """The row with the latest decision of each key.

    Labels of a transaction share a partition, so that there is one row. They are in two only if
    partitions were added; then the later decision stands.
    """
    return _ends(rows, keys, ("decided_at", "partition", "offset"))


def _ends(rows: Rows, keys: tuple[str, ...], order: tuple[str, ...]) -> Rows:
    """The last row of each key, sorted by key."""
    at = np.lexsort([rows[name] for name in reversed((*keys, *order))])
    found = rows[at]
    is_end = np.zeros(len(found), np.bool_)
    is_end[-1:] = True
    for name in keys:
        is_end[:-1] |= found[name][1:] != found[name][:-1]
    return found[is_end]


def _probability(score: Any) -> float:
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    return float(score) if is_number and 0 <= score <= 1 else math.nan


def _superseded(partition: int, offset: int, supersedes: Any) -> int:
    """The offset that a label names as superseded; -1 unless it is before it in its partition."""
    if not isinstance(supersedes, str):
        return -1
    own, _, number = supersedes.partition(":")
    is_number = number.isascii() and number.isdigit() and len(number) < _OFFSET_DIGITS
    found = int(number) if is_number and own == str(partition) else -1
    return found if found < offset else -1


def _source(source: Any) -> tuple[str, int, int] | None:
    """The coordinates that a label states; None if they cannot be those of a Kafka record."""
    if not isinstance(source, Mapping):
        return None
    topic, partition, offset = (source.get(name) for name in ("topic", "partition", "offset"))
    if not isinstance(topic, str) or type(partition) is not int or type(offset) is not int:
        return None
    is_place = 0 <= partition <= _INT32.max and 0 <= offset <= _INT64.max
    return (topic, partition, offset) if is_place else None
