"""The part of a committed offset's mark that names the state of a card history. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SPEC: Final = "spec"
"""The first digits of the history spec's fingerprint: each spec has its own eras."""
ERA: Final = "era"
SUM: Final = "sum"

_SPEC_DIGITS: Final = 16
_HEX: Final = re.compile(r"[0-9a-f]{16}")
_DECIMAL: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """Which state the history of a partition had at a committed offset.

    Attributes:
        spec: the first 16 digits of the spec's fingerprint.
        era: the number of the era.
        check_sum: 64 bits of the state.
    """

    spec: str
    era: int
    check_sum: int

    def is_of_spec(self, fingerprint: str) -> bool:
        """Whether it is of the spec with this whole fingerprint."""
        return fingerprint.startswith(self.spec)

    def is_of(self, fingerprint: str, era: int) -> bool:
        """Whether it is of this spec, and of this era."""
        return self.is_of_spec(fingerprint) and self.era == era

    def fields(self) -> dict[str, str]:
        """As fields of a mark."""
        return {ERA: str(self.era), SUM: format_sum(self.check_sum), SPEC: self.spec}


def history_mark(fingerprint: str, era: int, check_sum: int) -> HistoryMark:
    """The mark of a state, by the whole fingerprint of its spec."""
    return HistoryMark(fingerprint[:_SPEC_DIGITS], era, check_sum)


def read_history_mark(fields: Mapping[str, str]) -> HistoryMark | None:
    """The history in a mark; None if it has none, or one that cannot be read."""
    spec, era, check_sum = (fields.get(name, "") for name in (SPEC, ERA, SUM))
    if not (_HEX.fullmatch(spec) and _DECIMAL.fullmatch(era) and _HEX.fullmatch(check_sum)):
        return None
    return HistoryMark(spec, int(era), int(check_sum, 16))


def format_sum(check_sum: int) -> str:
    """A check sum as text: 16 hexadecimal digits."""
    return f"{check_sum:016x}"
