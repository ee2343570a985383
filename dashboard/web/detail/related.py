"""Flagged transactions of the same card, email domain, device or address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson

from dashboard.cache.flag import format_number
from dashboard.cache.reading import Listing, StoredFlag, read_page
from dashboard.cache.selection import Selection
from dashboard.cases.case import Case
from dashboard.history.past import Recent
from dashboard.web.detail.timeline import Point, TimeLine, draw_time_line

DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
MOST: Final = 200  # of one window; a count above it is shown as 200+
_SHORTEST_MS: Final = 60_000  # a burst of milliseconds is not stretched over the whole line
_FEW: Final = 2  # a time line with one dot says nothing


class Kind(NamedTuple):
    """A kind of entity: its name, its name on pages, and the fields of the record it is in."""

    name: str
    title: str
    field: str
    filter: str
    is_number: bool


KINDS: Final = (
    Kind("card", "Card", "card1", "card1", is_number=True),
    Kind("email", "Email domain", "P_emaildomain", "email", is_number=False),
    Kind("device", "Device", "DeviceInfo", "device", is_number=False),
    Kind("addr", "Address", "addr1", "addr1", is_number=True),
)
KIND_BY_NAME: Final = {kind.name: kind for kind in KINDS}


class Cases(Protocol):
    """The desk, as far as it is needed here."""

    def case_of(self, flag_ids: Sequence[str]) -> Mapping[str, Case]:
        """The cases of flags."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """What was flagged in a span of time.

    Attributes:
        flagged: transactions, at most ``MOST``.
        is_more: there are more than that.
        labels: decisions by label.
    """

    flagged: int
    is_more: bool
    labels: Mapping[str, int]

    @property
    def fraud(self) -> int:
        """Transactions that were decided to be fraud, or charged back."""
        return self.labels.get("FRAUD", 0)


@dataclass(frozen=True, slots=True)
class Entity:
    """A card, email domain, device or address, and what was flagged of it.

    Attributes:
        kind: of the entity.
        value: as text, for the link to its page.
        day: within 24 hours.
        week: within 7 days.
    """

    kind: Kind
    value: str
    day: Window
    week: Window


@dataclass(frozen=True, slots=True)
class Related:
    """The entities of a transaction, and the transactions of its card.

    Attributes:
        entities: those whose field has a value.
        items: flagged transactions of the same card, newest first, each with its case.
        line: their time line; None if there are too few.
    """

    entities: list[Entity]
    items: list[dict[str, Any]] = field(default_factory=list)
    line: TimeLine | None = None


class Finder:
    """Finds flagged transactions in the cache, with their cases."""

    def __init__(self, table: Path, cases: Cases, now: int) -> None:
        self._table = table
        self._cases = cases
        self._now = now

    def find(self, flag: Mapping[str, Any], recent: Recent | None) -> Related:
        """What was flagged around a transaction: up to 7 days before and after it."""
        context, at = flag["context"], int(flag["scored_at"])
        found = list[Entity]()
        items = list[dict[str, Any]]()
        for kind in KINDS:
            value = context.get(kind.field)
            if value is None or value == "":
                continue
            day, week = (self._rows(kind, value, at, span) for span in (DAY_MS, WEEK_MS))
            text = format_number(value) if kind.is_number else str(value)
            found.append(Entity(kind, text, self._count(day), self._count(week)))
            if kind.name == "card":
                items = self.with_cases(day if len(day) >= _FEW else week)
        return Related(found, items, _line_of(flag, items, recent))

    def of_entity(self, kind: Kind, value: float | str) -> tuple[Entity, list[dict[str, Any]]]:
        """What was flagged of one entity until now, and its newest flagged transactions."""
        day, week = (self._rows(kind, value, self._now, span) for span in (DAY_MS, WEEK_MS))
        text = format_number(value) if isinstance(value, float) else value
        newest = self._rows(kind, value, self._now, self._now)
        return Entity(kind, text, self._count(day), self._count(week)), self.with_cases(newest)

    def with_cases(self, rows: Sequence[StoredFlag]) -> list[dict[str, Any]]:
        """The transactions as the API sends them, at most ``MOST``."""
        rows = rows[:MOST]
        cases = self._cases.case_of([row.id for row in rows])
        return [
            orjson.loads(row.body) | {"case": cases[row.id].as_json() if row.id in cases else None}
            for row in rows
        ]

    def _rows(self, kind: Kind, value: float | str, at: int, span: int) -> list[StoredFlag]:
        selection = Selection(
            **{kind.filter: value},  # type: ignore[arg-type]  # by its kind, a number or a text
            since=str(max(0, at - span)),
            until=str(at + span),
        )
        return read_page(self._table, Listing(selection, self._now), None, MOST + 1)

    def _count(self, rows: Sequence[StoredFlag]) -> Window:
        shown = rows[:MOST]
        labels: dict[str, int] = {}
        for case in self._cases.case_of([row.id for row in shown]).values():
            if label := case.label or case.external:
                labels[label] = labels.get(label, 0) + 1
        return Window(len(shown), len(rows) > MOST, labels)


def state_of(item: Mapping[str, Any], this: str | None) -> str:
    """The state of a flagged transaction on a time line."""
    case = item.get("case") or {}
    label = case.get("label") or case.get("external")
    if label in ("FRAUD", "LEGITIMATE", "UNSURE"):
        return str(label).lower()
    return "this" if item["id"] == this else "flagged"


def draw_items(items: Sequence[Mapping[str, Any]], this: str | None) -> TimeLine | None:
    """The time line of flagged transactions by the time of their scores."""
    if len(items) < _FEW:
        return None
    points = [
        Point(item["scored_at"], item["amount"], state_of(item, this), item["id"]) for item in items
    ]
    first, last = min(p.at for p in points), max(p.at for p in points)
    return draw_time_line(points, first, max(last, first + _SHORTEST_MS))


def _line_of(
    flag: Mapping[str, Any], items: Sequence[Mapping[str, Any]], recent: Recent | None
) -> TimeLine | None:
    """The card's own history where the model has one, else what was flagged of the card.

    Transactions of the history have neither id nor score. Those that were flagged are recognized
    by their time and amount.
    """
    if recent is None or len(recent.transactions) < _FEW:
        return draw_items(items, flag["id"])
    points: list[Point] = []
    known = set[tuple[int, float]]()
    for item in items:
        at, amount = item["context"].get("TransactionDT"), item["amount"]
        if type(at) is int:
            points.append(Point(at, amount, state_of(item, flag["id"]), item["id"]))
            known.add((at, round(amount or 0.0, 2)))
    points += [
        Point(int(past.time), past.amount, "other")
        for past in recent.transactions
        if (int(past.time), round(past.amount, 2)) not in known
    ]
    first, last = min(p.at for p in points), max(p.at for p in points)
    return draw_time_line(points, first, last, is_offset=True)
