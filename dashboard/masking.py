"""What viewers do not see: the values of the fields of ``DASHBOARD_MASKED_FIELDS``. Pure.

One rule for every route: a viewer sees none of these values, and cannot look for one. So they are
hidden in transactions, reasons and input records, and filters and pages by such a field are
refused. That transactions have a value in common is shown, and not which.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson

MASK: Final = "hidden"
"""Shown in place of a value."""

KEY: Final = "key"
HEADERS: Final = "headers"
PROBLEM: Final = "problem"

_MEMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "card1": {"card": MASK},
    "card4": {"card": MASK},
    "card6": {"card": MASK},
    "productcd": {"product": MASK},
    "transactionamt": {"amount": None, "expected_loss": 0.0, "place": None},
    "event_time": {"event_time": None},
}
"""The members of a transaction that have a field's value too, and what they have instead."""

FILTERS: Final = {
    "card1": "card1",
    "addr1": "addr1",
    "email": "P_emaildomain",
    "device": "DeviceInfo",
    "product": "ProductCD",
    "min_amount": "TransactionAmt",
    "max_amount": "TransactionAmt",
}
"""The query parameters that look for a value, each with its field."""

SEARCHED: Final = {"card1": "card", "email": "email", "device": "device"}
"""Those of them that a search looks at, in words."""


class FieldMask:
    """The fields that a user does not see. Their names are compared in any case."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.casefold() for name in names)
        words = "|".join(map(re.escape, sorted(self._names)))
        # A feature is named after the columns that it is made of: `card1_addr1_frequency`.
        self._of_hidden = re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])")

    def __bool__(self) -> bool:
        """Whether anything is hidden."""
        return bool(self._names)

    def hides(self, field: str) -> bool:
        """Whether the values of a field are hidden."""
        return field.casefold() in self._names

    def hides_filter(self, parameter: str) -> bool:
        """Whether a query parameter looks for a value that is hidden."""
        return parameter in FILTERS and self.hides(FILTERS[parameter])

    @property
    def hides_losses(self) -> bool:
        """Whether amounts are hidden. The order by expected loss would reveal them."""
        return self.hides("TransactionAmt")

    @property
    def not_searched(self) -> tuple[str, ...]:
        """The query parameters whose fields a search must leave out."""
        return tuple(name for name in SEARCHED if self.hides_filter(name))

    @property
    def searched(self) -> str:
        """What a search looks at, in words."""
        return ", ".join(["ID", *(t for n, t in SEARCHED.items() if not self.hides_filter(n))])

    def mask_flag(self, body: bytes) -> bytes:
        """The encoded JSON object of a transaction, as the user sees it.

        ``hidden`` names the fields of its context that are hidden.
        """
        return orjson.dumps(self.mask_item(orjson.loads(body))) if self else body

    def mask_item(self, flag: Mapping[str, Any]) -> dict[str, Any]:
        """The same of a decoded one."""
        masked, context = dict(flag), dict(flag["context"])
        if not self:
            return masked
        hidden = [name for name, value in context.items() if self.hides(name) and value is not None]
        for name in hidden:
            context[name] = MASK
        for name, members in _MEMBERS.items():
            if name in self._names:
                masked |= {n: value for n, value in members.items() if masked.get(n) is not None}
        reasons = [self._mask_reason(reason) for reason in flag["reasons"]]
        return masked | {"context": context, "reasons": reasons, "hidden": hidden}

    def _mask_reason(self, reason: Mapping[str, Any]) -> Mapping[str, Any]:
        is_hidden = self._of_hidden.search(str(reason["feature"]).casefold()) is not None
        return {**reason, "value": MASK} if is_hidden else reason

    def mask_record(self, described: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """A described input record as the user sees it, and the names of what is hidden.

        Its key is often the card, and anything may be in its headers and in the text that says why
        it cannot be decoded. So these are hidden too, if any field is.
        """
        masked, hidden = dict(described), list[str]()
        if not self:
            return masked, hidden
        masked["fields"] = _mask(described["fields"], self._names, hidden)
        if described[KEY] is not None:
            masked[KEY] = MASK
            hidden.append(KEY)
        if described[HEADERS]:
            masked[HEADERS] = [[name, None if value is None else MASK]
                               for name, value in described[HEADERS]]  # fmt: skip
            hidden.append(HEADERS)
        if described[PROBLEM] is not None:
            masked[PROBLEM] = "the record cannot be decoded"
            hidden.append(PROBLEM)
        return masked, list(dict.fromkeys(hidden))


NO_MASK: Final = FieldMask()
"""For those who see everything."""


def _mask(value: Any, wanted: Collection[str], hidden: list[str]) -> Any:
    """A copy with masked members. JSON may have them at any depth."""
    if isinstance(value, list):
        return [_mask(one, wanted, hidden) for one in value]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for name, one in value.items():
        is_hidden = str(name).casefold() in wanted and one is not None
        if is_hidden:
            hidden.append(str(name))
        found[name] = MASK if is_hidden else _mask(one, wanted, hidden)
    return found
