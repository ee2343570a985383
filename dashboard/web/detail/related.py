"""Flagged transactions of the same card, email domain, device or address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson

from dashboard.cache.flag import format_number
from dashboard.cache.related import RelatedFlags, reading_related
from dashboard.cases.case import Case
from dashboard.history.past import Recent
from dashboard.masking import NO_MASK, FieldMask
from dashboard.web.detail.timeline import Point, TimeLine, draw_time_line

DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
MOST: Final = 100
"""Transactions of a card in one window. A count above it is shown as 100+."""

_MOST_OF_OTHERS: Final = 50  # of an email domain, device or region: each case costs some queries
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
    Kind("addr", "Billing region", "addr1", "addr1", is_number=True),
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
        flagged: transactions, up to a limit.
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
        value: as text, for the link to its page; None if the user does not see it.
        day: within 24 hours.
        week: within 7 days.
    """

    kind: Kind
    value: str | None
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


class _Rows(NamedTuple):
    ids: list[str]
    is_more: bool


class Finder:
    """Finds flagged transactions in the cache, with their cases.

    ``mask`` is what the user does not see. It may be found by it all the same.
    """

    def __init__(self, table: Path, cases: Cases, now: int, mask: FieldMask = NO_MASK) -> None:
        self._mask = mask
        self._table = table
        self._cases = cases
        self._now = now

    def find(self, flag: Mapping[str, Any], recent: Recent | None) -> Related:
        """What was flagged around a transaction: up to 7 days before and after it."""
        context, at = flag["context"], int(flag["scored_at"])
        windows = list[tuple[Kind, str | None, _Rows, _Rows]]()
        shown, bodies = list[str](), dict[str, bytes]()
        with reading_related(self._table) as related:
            for kind in KINDS:
                value = context.get(kind.field)
                if value is None or value == "":
                    continue
                limit = MOST if kind.name == "card" else _MOST_OF_OTHERS
                day = _rows(related, kind, value, (at - DAY_MS, at + DAY_MS), limit)
                # A full day makes a full week.
                week = day
                if not day.is_more:
                    week = _rows(related, kind, value, (at - WEEK_MS, at + WEEK_MS), limit)
                text = None if self._mask.hides(kind.field) else _text_of(kind, value)
                windows.append((kind, text, day, week))
            if windows and windows[0][0].name == "card":
                _, _, day, week = windows[0]
                shown = (day if len(day.ids) >= _FEW else week).ids
                bodies = related.bodies(shown)
        ids = {one for _, _, *spans in windows for rows in spans for one in rows.ids}
        cases = self._cases.case_of(list(ids))
        entities = [
            Entity(k, text, _count(d, cases), _count(w, cases)) for k, text, d, w in windows
        ]
        items = self._items(shown, bodies, cases)
        return Related(entities, items, _line_of(flag, items, recent))

    def of_entity(self, kind: Kind, value: float | str) -> tuple[Entity, list[dict[str, Any]]]:
        """What was flagged of one entity until now, and its newest flagged transactions."""
        now = self._now
        with reading_related(self._table) as related:
            day, week, newest = (
                _rows(related, kind, value, (now - span, now + span), MOST)
                for span in (DAY_MS, WEEK_MS, now)
            )
            bodies = related.bodies(newest.ids)
        cases = self._cases.case_of(list({one for rows in (day, week, newest) for one in rows.ids}))
        entity = Entity(kind, _text_of(kind, value), _count(day, cases), _count(week, cases))
        return entity, self._items(newest.ids, bodies, cases)

    def _items(
        self, ids: Sequence[str], bodies: Mapping[str, bytes], cases: Mapping[str, Case]
    ) -> list[dict[str, Any]]:
        """The transactions as the API sends them."""
        return [
            self._mask.mask_item(orjson.loads(bodies[one]))
            | {"case": cases[one].as_json() if one in cases else None}
            for one in ids
            if one in bodies
        ]


def _rows(
    related: RelatedFlags, kind: Kind, value: float | str, span: tuple[int, int], limit: int
) -> _Rows:
    found = related.ids(kind.filter, value, span, limit + 1)
    return _Rows(found[:limit], is_more=len(found) > limit)


def _text_of(kind: Kind, value: float | str) -> str:
    return format_number(float(value)) if kind.is_number else str(value)


def _count(found: _Rows, cases: Mapping[str, Case]) -> Window:
    labels: dict[str, int] = {}
    for one in found.ids:
        case = cases.get(one)
        label = (case.label or case.external) if case else None
        if label:
            labels[label] = labels.get(label, 0) + 1
    return Window(len(found.ids), found.is_more, labels)


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
