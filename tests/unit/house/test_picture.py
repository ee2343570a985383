"""The picture and the table of the rooms show the code as it is now."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.house.graph import ROOT, Graph, room_graph
from tests.house.layers import Layout, assign_layers, lay_out, reduce_arrows
from tests.house.picture import draw
from tests.house.table import build_table, read_table, write_table

PICTURE = ROOT / "docs/rooms.svg"
PAGE = ROOT / "docs/architecture.md"
COMMAND = "python -m tests.house --picture docs/rooms.svg --table docs/architecture.md"


@cache
def drawn() -> str:
    return draw()


@cache
def rooms() -> Graph:
    return {room: targets for room, targets in room_graph().items() if room != "stream_scorer"}


@cache
def layout() -> Layout:
    shown = reduce_arrows(rooms())
    return lay_out(shown, dict.fromkeys(shown, 80.0))


def reached(graph: Graph, room: str) -> set[str]:
    found, todo = set[str](), [room]
    while todo:
        for target in graph[todo.pop()] - found:
            found.add(target)
            todo.append(target)
    return found


def test_committed_picture_is_what_the_code_draws_now() -> None:
    assert PICTURE.read_text("utf-8") == drawn(), f"run: {COMMAND}"


def test_committed_table_is_what_the_docstrings_say_now() -> None:
    assert read_table(PAGE) == build_table(), f"run: {COMMAND}"


def test_picture_is_the_same_every_time() -> None:
    assert draw() == drawn()


def test_picture_is_well_formed_and_shows_every_room() -> None:
    root = ET.fromstring(drawn())  # noqa: S314 - our own
    labels = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len([text for text in drawn().splitlines() if 'class="box"' in text]) == len(rooms())
    for room in rooms():
        package, _, rest = room.partition(".")
        assert (rest.replace(".", "/") or package) in labels


def test_picture_loads_nothing_and_has_a_dark_scheme() -> None:
    assert "prefers-color-scheme: dark" in drawn()
    addresses = re.findall(r"\w+://[^\"]+", drawn())
    assert addresses == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|@import|@font-face|href=", drawn())


def test_reduced_arrows_imply_all_arrows() -> None:
    shown = reduce_arrows(rooms())
    assert sum(map(len, shown.values())) < sum(map(len, rooms().values()))
    for room in rooms():
        assert reached(shown, room) == reached(rooms(), room)


def test_an_arrow_that_a_longer_path_implies_is_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert reduce_arrows(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_every_arrow_leads_down_and_schemas_lies_below_everything() -> None:
    layers = assign_layers(reduce_arrows(rooms()))
    for room, targets in rooms().items():
        assert all(layers[target] < layers[room] for target in targets), room
    lowest = min(n for room, n in layers.items() if not room.startswith("schemas"))
    assert all(n < lowest for room, n in layers.items() if room.startswith("schemas"))


def test_boxes_of_a_layer_do_not_overlap_and_stay_in_their_column() -> None:
    found = layout()
    for layer in found.layers.values():
        named = [node for node in layer if isinstance(node, str)]
        for left, right in pairwise(named):
            assert found.center[right] - found.center[left] >= 80.0
        for room in named:
            start, end = found.columns[room.partition(".")[0]]
            assert start <= found.center[room] - 40.0
            assert found.center[room] + 40.0 <= end


def test_table_is_replaced_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- rooms -->\nold\n<!-- /rooms -->\nafter\n")
    write_table(page)
    assert read_table(page) == build_table()
    assert page.read_text().startswith("before\n<!-- rooms -->\n\n| room |")
    assert page.read_text().endswith("<!-- /rooms -->\nafter\n")


def test_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no table\n")
    with pytest.raises(ValueError, match="has no line <!-- rooms -->"):
        write_table(page)
    assert page.read_text() == "no table\n"
