"""HTML that is escaped by construction: text is escaped unless it is :class:`Html` already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from stream_scorer.runtime.text import printable

MOST_CHARS: Final = 400
"""Of one text from a version's metadata."""

_SHORT: Final = 12
"""A table with more rows may be split between printed pages."""

_VOID: Final = frozenset({"meta", "br", "col"})


class Html(str):
    """Text that is HTML: only this module's functions and the page's own constants make it."""

    __slots__ = ()


Content = str | Html


def text(value: str) -> Html:
    """Untrusted text as HTML: control and direction characters are shown, and it is bounded."""
    short = value if len(value) <= MOST_CHARS else value[:MOST_CHARS] + "…"
    return Html(escape(printable(short)))


def join(parts: Iterable[Content]) -> Html:
    """The parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def tag(name: str, /, *children: Content, **attributes: Content | float | None) -> Html:
    """An element; ``class_`` is ``class``, ``aria_label`` is ``aria-label``, None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_written(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def _written(value: Content | float) -> Html:
    if isinstance(value, Html):
        return value
    return text(value if isinstance(value, str) else f"{value:.6g}")


def table(
    caption: str,
    head: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    align: str = "",
    style: str | None = None,
) -> Html:
    """A table; a table without rows is empty text.

    The first cell of a row is its heading. ``align`` has ``l`` (text) or ``r`` (figures) for each
    column; without it, all columns but the first are figures.
    """
    lines = list(rows)
    if not lines:
        return Html("")
    sides = align or "l".ljust(len(head), "r")
    kinds = ["n" if side == "r" else None for side in sides]
    top = tag(
        "tr", *(tag("th", c, scope="col", class_=k) for c, k in zip(head, kinds, strict=True))
    )
    body = [
        tag(
            "tr",
            tag("th", line[0], scope="row", class_=kinds[0]),
            *(tag("td", c, class_=k) for c, k in zip(line[1:], kinds[1:], strict=True)),
        )
        for line in lines
    ]
    parts = (tag("caption", caption), tag("thead", top), tag("tbody", *body))
    whole = tag("table", *parts, class_=style)
    kind = "scroll short" if len(lines) <= _SHORT else "scroll"
    return tag("div", whole, class_=kind, tabindex="0", role="region", aria_label=caption)


def figure(title: str, reading: str, chart: Html, *, style: str = "", keys: Content = "") -> Html:
    """A chart with its title and the sentence that says what to read from it."""
    words = tag("figcaption", tag("h3", title), tag("p", reading))
    legend = tag("p", keys, class_="keys") if keys else Html("")
    return tag("figure", words, legend, tag("div", chart, class_="plot"), class_=style or None)


def key(style: str, label: str, *, is_line: bool = False) -> Html:
    """One entry of a legend."""
    shape = "key line" if is_line else "key"
    swatch = tag("i", class_=f"{shape} {style}", aria_hidden="true")
    return tag("span", swatch, label, class_="entry")
