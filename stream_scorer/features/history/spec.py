"""The history spec: which keys are remembered, for how long, and which features come of it.

It is plain data in a feature program, so that columns, time spans and keys change without code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final

from schemas.contracts import AMOUNT, NUMBER_COLUMNS, NUMBER_INDEX, TEXT_COLUMNS
from stream_scorer.features.history.kinds import KINDS, FeatureKind, Takes, span_name
from stream_scorer.features.history.layout import RecordLayout
from stream_scorer.features.operations.columns import ColumnFault, Kind, describe_column, expand
from stream_scorer.features.operations.reading import FieldFault, Fields, check_name, shown

HISTORY_VERSION: Final = 1
"""Of the meaning of state and features, down to the last bit. Snapshots of another version are of
another spec."""

SEMANTICS: Final = f"history/{HISTORY_VERSION}"
"""Name and version, as operations have."""

CARD: Final = "card1"
"""Every key begins with it: the input is partitioned by it, so a key lies in one partition."""

MAX_SPACES: Final = 4
MAX_RING: Final = 32
MAX_TTL_DAYS: Final = 400
MAX_FEATURES: Final = 256
MAX_SPANS: Final = 8
"""Different time spans of windows, and of half-lives, in one key space."""
MAX_VALUES: Final = 128
"""Columns whose means, last values or sets a key space remembers, of each kind."""
MAX_WIDTH: Final = 128
"""Words of a record: together with the limit of keys, this bounds the memory of a partition."""
MAX_SECONDS: Final = 366 * 86_400
_MAX_KEY_COLUMNS: Final = 8
_LONGEST: Final = 100  # of a kind for which a similar one is looked for


@dataclass(frozen=True)
class HistoryFeatures:
    """Features of one kind in a group: one for each column or time span, or a single one."""

    kind: str
    group: str
    columns: tuple[str, ...] = ()
    seconds: tuple[int, ...] = ()

    @property
    def operands(self) -> tuple[str | int | None, ...]:
        """What each of the features is given."""
        return self.columns or self.seconds or (None,)

    @property
    def feature_kind(self) -> FeatureKind:
        """What this kind is."""
        return KINDS[self.kind]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        own: dict[str, Any] = {"kind": self.kind, "group": self.group}
        if self.columns:
            own["columns"] = list(self.columns)
        if self.seconds:
            own["seconds"] = list(self.seconds)
        return own


@dataclass(frozen=True)
class KeySpace:
    """The records of one kind of key.

    Attributes:
        name: begins the names of its features.
        key: columns whose values make the key; the first is ``card1``. A missing value of another
            column is a value of its own.
        start_day: a column of days; the day of the transaction minus these days is part of the key
            too. A row without it has no history here.
        ttl_days: a record that was not used for so long counts as absent.
        ring: how many of the last transactions are remembered with their time and amount.
        features: in the order of their columns.
    """

    name: str
    key: tuple[str, ...]
    start_day: str | None
    ttl_days: int
    ring: int
    features: tuple[HistoryFeatures, ...]

    @cached_property
    def layout(self) -> RecordLayout:
        """Where a record has what."""
        return RecordLayout.of(
            self._seconds("decayed_count", "decayed_amount"),
            self._seconds("count_in", "amount_in"),
            self._columns("mean", "minus_mean"),
            self._columns("minus_last"),
            self._columns("distinct", "is_new"),
            self.ring,
        )

    @property
    def width(self) -> int:
        """Words of eight bytes in a record."""
        return self.layout.width

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a transaction that the space reads, the amount among them."""
        day = (self.start_day,) if self.start_day else ()
        used = (c for features in self.features for c in features.columns)
        return tuple(dict.fromkeys((*self.key, *day, AMOUNT, *used)))

    @cached_property
    def named(self) -> tuple[tuple[str, HistoryFeatures, str | int | None], ...]:
        """Each feature: its name, what it is one of, and what it is given."""
        return tuple(
            (self.name_of(f, operand), f, operand) for f in self.features for operand in f.operands
        )

    def name_of(self, features: HistoryFeatures, operand: str | int | None) -> str:
        """The name of a feature."""
        return f"{self.name}_{features.feature_kind.name.format(_shown(operand))}"

    def describe(self, features: HistoryFeatures, operand: str | int | None) -> str:
        """A feature in words."""
        what = describe_column(operand) if isinstance(operand, str) else _shown(operand)
        return f"{features.feature_kind.text.format(what)} ({self.name} history)"

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        own: dict[str, Any] = {"space": self.name, "version": HISTORY_VERSION}
        own["key"] = list(self.key)
        if self.start_day:
            own["start_day"] = self.start_day
        own |= {"ttl_days": self.ttl_days, "ring": self.ring}
        own["features"] = [features.plain() for features in self.features]
        return own

    def _seconds(self, *kinds: str) -> tuple[int, ...]:
        return tuple(dict.fromkeys(s for f in self.features if f.kind in kinds for s in f.seconds))

    def _columns(self, *kinds: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c for f in self.features if f.kind in kinds for c in f.columns))


@dataclass(frozen=True)
class HistorySpec:
    """All key spaces of a program."""

    spaces: tuple[KeySpace, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of the columns."""
        return tuple(name for space in self.spaces for name, *_ in space.named)

    @cached_property
    def groups(self) -> dict[str, str]:
        """Feature → group."""
        return {name: f.group for space in self.spaces for name, f, _ in space.named}

    @cached_property
    def texts(self) -> dict[str, str]:
        """Feature → what it is in words."""
        return {
            name: space.describe(f, operand)
            for space in self.spaces
            for name, f, operand in space.named
        }

    @cached_property
    def widths(self) -> dict[str, int]:
        """Words of a record by key space."""
        return {space.name: space.width for space in self.spaces}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The number and text columns that the spec reads, in the order of the transaction's."""
        used = {column for space in self.spaces for column in space.columns}
        return tuple(c for c in (*NUMBER_COLUMNS, *TEXT_COLUMNS) if c in used)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the spec and of the version of its meaning."""
        text = json.dumps([HISTORY_VERSION, self.plain()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def semantics(self) -> str:
        """Name and version, as operations have."""
        return SEMANTICS

    def plain(self) -> list[dict[str, Any]]:
        """As plain data, from which :func:`read_spec` builds an equal one."""
        return [space.plain() for space in self.spaces]

    def without(self, groups: set[str]) -> HistorySpec | None:
        """The spec without the features of these groups; None if none is left."""
        spaces = []
        for space in self.spaces:
            kept = tuple(f for f in space.features if f.group not in groups)
            if kept:
                spaces.append(
                    KeySpace(
                        space.name, space.key, space.start_day, space.ttl_days, space.ring, kept
                    )
                )
        return HistorySpec(tuple(spaces)) if spaces else None


class FeaturesFault(FieldFault):
    """A fault in one of the tables that list features; ``listed`` is its number, from 1."""

    def __init__(self, fault: FieldFault, listed: int) -> None:
        super().__init__(fault.field_name, "", fault.value)
        self.args = fault.args
        self.listed = listed


def read_space(plain: Any) -> KeySpace:
    """A key space from plain data that anyone may have written.

    Raises:
        FeaturesFault: a list of features is wrong.
        FieldFault: a field is missing, wrong or unknown.
    """
    if type(plain) is not dict:
        raise FieldFault("history", f"must be a table, not {shown(plain)}")
    fields = Fields(plain, "a key space")
    name = fields.name("space")
    version = fields.integer("version", 0, 2**31)
    if version != HISTORY_VERSION:
        raise FieldFault("version", f"this code has history/{HISTORY_VERSION}, not {version}")
    key = _read_columns(fields, "key", (Kind.NUMBER, Kind.TEXT))
    if key[0] != CARD or len(key) > _MAX_KEY_COLUMNS:
        why = f"must be {CARD} and at most {_MAX_KEY_COLUMNS - 1} other columns"
        raise FieldFault("key", f"{why}: a key has to lie in one partition", key[0])
    start_day = fields.take("start_day")
    if start_day is not None and (type(start_day) is not str or start_day not in NUMBER_INDEX):
        raise FieldFault("start_day", f"must be a number column such as D1, not {shown(start_day)}")
    ttl_days = fields.integer("ttl_days", 1, MAX_TTL_DAYS)
    ring = fields.integer("ring", 0, MAX_RING)
    given = fields.take("features")
    fields.finish()
    if type(given) is not list or not 0 < len(given) <= MAX_FEATURES:
        raise FieldFault("features", f"must be a list of 1 to {MAX_FEATURES} tables")
    features = tuple(_read_features(one, ring, number) for number, one in enumerate(given, 1))
    space = KeySpace(name, key, start_day, ttl_days, ring, features)
    _check_names(space)
    _check_sizes(space)
    return space


def _read_features(plain: Any, ring: int, number: int) -> HistoryFeatures:
    try:
        if type(plain) is not dict:
            raise FieldFault("features", f"has {shown(plain)} where it needs tables")
        return _read_fields(Fields(plain, "features of a key space"), ring)
    except FieldFault as fault:
        raise FeaturesFault(fault, number) from fault


def _read_fields(fields: Fields, ring: int) -> HistoryFeatures:
    kind = fields.text("kind")
    if kind not in KINDS:
        near = get_close_matches(kind[:_LONGEST], KINDS, 1)
        known = f"did you mean {near[0]}?" if near else f"the kinds are {', '.join(KINDS)}"
        raise FieldFault("kind", f"unknown kind {shown(kind)}; {known}")
    takes = KINDS[kind].takes
    group = fields.name("group")
    columns: tuple[str, ...] = ()
    seconds: tuple[int, ...] = ()
    if takes is Takes.NUMBERS:
        columns = _read_columns(fields, "columns", (Kind.NUMBER,))
    elif takes is Takes.ANY_COLUMNS:
        columns = _read_columns(fields, "columns", (Kind.NUMBER, Kind.TEXT))
    elif takes is Takes.SECONDS:
        seconds = _read_seconds(fields)
    fields.finish()
    needed = 2 if kind == "gap_before" else 1
    if KINDS[kind].needs_ring and ring < needed:
        why = f"{kind} needs a ring of at least {needed}, and the key space has {ring}"
        raise FieldFault("kind", why)
    return HistoryFeatures(kind, group, columns, seconds)


def _read_columns(fields: Fields, name: str, kinds: Sequence[Kind]) -> tuple[str, ...]:
    given = fields.texts(name) or []
    try:
        return expand(given, kinds)
    except ColumnFault as fault:
        raise FieldFault(name, str(fault), fault.column) from fault


def _read_seconds(fields: Fields) -> tuple[int, ...]:
    given = fields.take("seconds")
    if type(given) is not list or not 0 < len(given) <= MAX_SPANS:
        raise FieldFault("seconds", f"must be a list of 1 to {MAX_SPANS} whole numbers")
    for value in given:
        if type(value) is not int or not 0 < value <= MAX_SECONDS:
            why = f"has {shown(value)}, not a whole number from 1 to {MAX_SECONDS}"
            raise FieldFault("seconds", why)
    if len(given) != len(set(given)):
        raise FieldFault("seconds", "has a number twice")
    return tuple(given)


def _check_names(space: KeySpace) -> None:
    number_of: dict[str, int] = {}
    for number, features in enumerate(space.features, 1):
        for operand in features.operands:
            name = space.name_of(features, operand)
            try:
                check_name("features", name)
                if name in number_of:
                    why = f"feature {name} is already one of features {number_of[name]}"
                    raise FieldFault("kind", why)
            except FieldFault as fault:
                raise FeaturesFault(fault, number) from fault
            number_of[name] = number


def _check_sizes(space: KeySpace) -> None:
    layout = space.layout
    if max(len(layout.half_lives), len(layout.windows)) > MAX_SPANS:
        why = f"windows or half-lives have more than {MAX_SPANS} different time spans"
        raise FieldFault("features", why)
    if max(map(len, (layout.means, layout.lasts, layout.sets))) > MAX_VALUES:
        raise FieldFault("features", f"remember more than {MAX_VALUES} columns of a kind")
    if space.width > MAX_WIDTH:
        why = f"a record has {8 * space.width} bytes, and {8 * MAX_WIDTH} are allowed; use fewer "
        raise FieldFault("features", f"{why}columns or half-lives, or a smaller ring")


def _shown(operand: str | int | None) -> str:
    if isinstance(operand, int):
        return span_name(operand)
    return operand or ""
