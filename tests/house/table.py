"""The table of rooms in ``docs/architecture.md``: ``python -m tests.house --table FILE.md``."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.house.graph import PACKAGES, ROOT, find_modules, room_graph, room_of

_EMPTY: Final = ("stream_scorer",)  # a package without code of its own
_BLOCK: Final = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- /rooms -->)", re.DOTALL)


def build_table(root: Path = ROOT) -> str:
    """Each room with the first sentence of its docstring, and where it lies."""
    modules = find_modules(root)
    rows = ["", "| room | concern |", "| --- | --- |"]
    all_rooms = room_graph(root)
    for package in PACKAGES:
        rooms = {room for room in all_rooms if room.partition(".")[0] == package}
        for room in sorted(rooms - set(_EMPTY)):
            text = modules[room].read_text(encoding="utf-8")
            concern = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
            link = f"[`{room}`](../{_place(room, modules).relative_to(root)})"
            rows.append(f"| {link} | {concern.replace('``', '`').replace('|', '&#124;')} |")
    return "\n".join(rows) + "\n\n"


def _place(room: str, modules: Mapping[str, Path]) -> Path:
    """The folder or file of a room."""
    path = modules[room]
    is_folder = path.name == "__init__.py" and room_of(room, modules) == room
    return path.parent if is_folder else path


def read_table(page: Path) -> str:
    """The table as it stands in a page, between its two markers."""
    found = _BLOCK.search(page.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{page} has no line <!-- rooms --> followed by <!-- /rooms -->")
    return found[0]


def write_table(page: Path, root: Path = ROOT) -> None:
    """Replace the table of a page."""
    text = page.read_text(encoding="utf-8")
    read_table(page)
    page.write_text(_BLOCK.sub(lambda _: build_table(root), text, count=1), encoding="utf-8")
