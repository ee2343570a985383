"""Why a run was started, as the metadata of its version says it."""

from __future__ import annotations

from typing import Final

from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS
from stream_scorer.runtime.text import printable

KEY: Final = "requested"
"""The name of the fact."""


def request_facts(**given: str | None) -> dict[str, dict[str, str]]:
    """The fact ``requested`` of the metadata; none if nothing says why the run was started.

    The texts come from elsewhere: they become one line, are escaped and cut. A run must not fail
    because of them.
    """
    facts = {name: _line(value) for name, value in given.items() if value and value.strip()}
    return {KEY: facts} if facts else {}


def _line(text: str) -> str:
    return printable(" ".join(text.split()))[:REASON_MAX_CHARACTERS]
