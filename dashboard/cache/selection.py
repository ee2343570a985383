"""The filter of the list of flagged transactions, shared by pages, API and live rows."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import urlencode

from dashboard.cache.flag import SAMPLE, Flag, format_number
from dashboard.cache.times import parse_time

STATUSES: Final = ("open", "claimed", "mine", "snoozed", "decided")
DECISIONS: Final = ("REVIEW", "BLOCK", SAMPLE)

_HAS_REASON: Final = (
    "EXISTS (SELECT 1 FROM flag_reasons r WHERE r.feature = :reason AND r.flag = flags.rowid)"
)
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
_MAX_INT64_DIGITS: Final = 19
_ASCII_LOWER: Final = {ord(c): ord(c.lower()) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects flagged transactions. Bounds are inclusive, texts are compared exactly.

    The names are those of the query parameters. ``since`` and ``until`` are texts of
    :func:`~dashboard.cache.times.parse_time`, ``status`` is that of the case (``mine``: claimed by
    the user who asks), and ``q`` searches: see :class:`Search`.

    ``static/filter.js`` applies the same rules to live rows. A test compares the two.
    """

    min_score: float | None = None
    max_score: float | None = None
    min_amount: float | None = None
    max_amount: float | None = None
    product: str | None = None
    card1: float | None = None
    addr1: float | None = None
    email: str | None = None
    device: str | None = None
    decision: str | None = None
    model: str | None = None
    reason: str | None = None
    status: str | None = None
    since: str | None = None
    until: str | None = None
    transaction_id: int | None = None
    q: str | None = None
    q_without: tuple[str, ...] = ()
    """Parameters whose fields ``q`` does not look at, because the user does not see them."""

    @property
    def is_empty(self) -> bool:
        """Whether every flagged transaction matches."""
        return self == Selection()

    def matches(self, flag: Flag, now: int, status: str = "open", *, is_mine: bool = False) -> bool:
        """Whether a flagged transaction matches whose case has this status.

        ``is_mine``: the user who asks has claimed or snoozed it.
        """
        since, until = self.times(now)
        return (
            _is_within(flag.score, self.min_score, self.max_score)
            and _is_within(flag.amount, self.min_amount, self.max_amount)
            and _is_within(flag.key.scored_at, since, until)
            and self.product in (None, flag.product)
            and self.card1 in (None, flag.card1)
            and self.addr1 in (None, flag.addr1)
            and self.email in (None, flag.email)
            and self.device in (None, flag.device)
            and self.decision in (None, flag.decision)
            and self.model in (None, flag.model_version)
            and self.matches_status(status, is_mine=is_mine)
            and self.transaction_id in (None, flag.transaction_id)
            and (self.reason is None or self.reason in flag.reasons)
            and (self.q is None or Search(self.q, self.q_without).matches(flag))
        )

    def matches_status(self, status: str, *, is_mine: bool) -> bool:
        """Whether a case with this status matches."""
        if self.status == "mine":
            return status == "claimed" and is_mine
        return self.status in (None, status)

    def times(self, now: int) -> tuple[int | None, int | None]:
        """``since`` and ``until`` in epoch milliseconds."""
        return (
            None if self.since is None else parse_time(self.since, now),
            None if self.until is None else parse_time(self.until, now),
        )

    def conditions(self, now: int) -> tuple[list[str], dict[str, object]]:
        """The same filter as SQL conditions on the flags table, and their parameters.

        Without the status, which the table does not know.
        """
        since, until = self.times(now)
        wanted: list[tuple[object, str]] = [
            (self.min_score, "score >= :min_score"),
            (self.max_score, "score <= :max_score"),
            (self.min_amount, "amount >= :min_amount"),
            (self.max_amount, "amount <= :max_amount"),
            (since, "scored_at >= :since"),
            (until, "scored_at <= :until"),
            (self.product, "product = :product"),
            (self.card1, "card1 = :card1"),
            (self.addr1, "addr1 = :addr1"),
            (self.email, "email = :email"),
            (self.device, "device = :device"),
            (self.decision, "decision = :decision"),
            (self.model, "model_version = :model"),
            (self.reason, _HAS_REASON),
            (self.transaction_id, "transaction_id = :transaction_id"),
        ]
        found = [condition for value, condition in wanted if value is not None]
        parameters: dict[str, object] = {
            field.name: getattr(self, field.name) for field in fields(self)
        }
        parameters |= {"since": since, "until": until}
        if self.q is not None:
            search = Search(self.q, self.q_without)
            found.append(search.condition)
            parameters |= search.parameters
        return found, parameters

    def query(self, **more: object) -> str:
        """The query string of this selection and ``more``, without the parts that are None."""
        given = {field.name: getattr(self, field.name) for field in fields(self)} | more
        del given["q_without"]  # who asks is no part of the question
        return urlencode({name: _text(value) for name, value in given.items() if value is not None})


class Search:
    """One text that is looked for in several fields.

    It finds the transaction ids and the email domains and devices that start with it, in upper or
    lower case (ASCII only), and the card with this number.
    """

    def __init__(self, text: str, without: Collection[str] = ()) -> None:
        self._text = text.translate(_ASCII_LOWER)
        self._digits = text if text.isascii() and text.isdigit() else None
        is_card = "card1" not in without and _NUMBER.fullmatch(text)
        self._card = float(text) if is_card else None
        self._columns = [name for name in ("email", "device") if name not in without]

    def matches(self, flag: Flag) -> bool:
        """Whether it finds this flagged transaction."""
        number = str(flag.transaction_id)
        return (
            (self._digits is not None and number.startswith(self._digits))
            or (self._card is not None and flag.card1 == self._card)
            or any(
                _lower(text).startswith(self._text)
                for name in self._columns
                if (text := getattr(flag, name))
            )
        )

    @property
    def condition(self) -> str:
        """The same as an SQL condition on one row."""
        parts = [f"{column} LIKE :q_text ESCAPE '\\'" for column in self._columns]
        if self._card is not None:
            parts.append("card1 = :q_card")
        if self._digits is not None:
            parts.append("CAST(transaction_id AS TEXT) LIKE :q_digits")
        return f"({' OR '.join(parts) or '0'})"

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the conditions."""
        escaped = self._text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        found: dict[str, object] = {"q_text": f"{escaped}%", "q_card": self._card}
        if self._digits is not None:
            found["q_digits"] = f"{self._digits}%"
            for number, (low, high) in enumerate(self._id_ranges()):
                found |= {f"q_low{number}": low, f"q_high{number}": high}
        return found

    def indexed(self) -> list[tuple[str, str]]:
        """The same as a union: each part's index and its condition."""
        parts = [(f"by_{column}", f"{column} LIKE :q_text ESCAPE '\\'") for column in self._columns]
        if self._card is not None:
            parts.append(("by_card", "card1 = :q_card"))
        parts += [
            ("by_transaction", f"transaction_id BETWEEN :q_low{number} AND :q_high{number}")
            for number in range(len(self._id_ranges()))
        ]
        return parts

    def _id_ranges(self) -> list[tuple[int, int]]:
        """The ranges of the ids that start with these digits: 12, 120 to 129, and so on."""
        if self._digits is None or (self._digits[0] == "0" and self._digits != "0"):
            return []
        first, ranges = int(self._digits), []
        for zeros in range(_MAX_INT64_DIGITS - len(self._digits) + 1 if first else 1):
            low = first * 10**zeros
            if low >= 2**63:
                break
            ranges.append((low, min(low + 10**zeros - 1, 2**63 - 1)))
        return ranges


def _is_within(value: float | None, low: float | None, high: float | None) -> bool:
    if value is None:
        return low is None and high is None
    return (low is None or value >= low) and (high is None or value <= high)


def _lower(text: str) -> str:
    return text.translate(_ASCII_LOWER)


def _text(value: object) -> object:
    return format_number(value) if isinstance(value, float) else value
