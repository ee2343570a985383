"""Prints the rooms, arrows, circles and sizes of this tree or of another checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.house.graph import ROOT, circles, module_graph, room_graph
from tests.house.picture import write_picture
from tests.house.sizes import describe
from tests.house.table import write_table


def main() -> int:
    """``python -m tests.house [--root CHECKOUT] [--rooms] [--picture SVG] [--table PAGE]``."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout of the project")
    parser.add_argument("--rooms", action="store_true", help="list each room and what it imports")
    parser.add_argument("--picture", type=Path, metavar="SVG", help="draw the rooms to this file")
    parser.add_argument("--table", type=Path, metavar="PAGE", help="update a page's table of rooms")
    args = parser.parse_args()
    if args.picture is not None:
        write_picture(args.picture, args.root)
    if args.table is not None:
        write_table(args.table, args.root)
    if args.picture is None and args.table is None:
        _print_figures(args.root, with_rooms=args.rooms)
    return 0


def _print_figures(root: Path, *, with_rooms: bool) -> None:
    rooms, modules = room_graph(root), module_graph(root)
    print(f"rooms       {len(rooms)}")
    print(f"arrows      {sum(map(len, rooms.values()))} between rooms, "
          f"{sum(map(len, modules.values()))} between modules")  # fmt: skip
    print(f"circles     {len(circles(rooms))} of rooms, {len(circles(modules))} of modules")
    for circle in circles(rooms):
        print("            " + " <-> ".join(circle))
    print("\n".join(describe(root)))
    if with_rooms:
        for room, targets in sorted(rooms.items()):
            print(f"{room}: {', '.join(sorted(targets)) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
