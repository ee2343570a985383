"""Input records as viewers see them: without what names a card, an address or a person. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

MASK: Final = "hidden"
"""Shown in place of a value."""

KEY: Final = "key"
HEADERS: Final = "headers"
PROBLEM: Final = "problem"


def mask_record(
    described: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """A described input record without some fields, and the names of what is hidden.

    Its key is often the card, and anything may be in its headers and in the text that says why it
    cannot be decoded. So these are hidden too, if any field is.
    """
    masked, hidden = dict(described), list[str]()
    wanted = {name.casefold() for name in names}
    if not wanted:
        return masked, hidden
    masked["fields"] = _mask(described["fields"], wanted, hidden)
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
