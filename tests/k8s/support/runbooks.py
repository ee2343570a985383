"""The sections of ``docs/runbooks.md`` by their anchors."""

from __future__ import annotations

import re
from functools import cache

from tests.k8s.support.rendering import ROOT

PATH = ROOT / "docs/runbooks.md"


@cache
def sections() -> dict[str, str]:
    """The text of each section, by the anchor that Markdown renderers generate."""
    parts = re.split(r"^#{2,3} (.+)$", PATH.read_text("utf-8"), flags=re.MULTILINE)
    return {_anchor(head): text for head, text in zip(parts[1::2], parts[2::2], strict=True)}


def anchors() -> set[str]:
    """Every anchor that a link may use."""
    return set(sections())


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
