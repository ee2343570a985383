"""Prints the rooms, arrows, circles and sizes of this tree or of another checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.house.graph import ROOT, circles, module_graph, room_graph
from tests.house.sizes import describe


def main() -> int:
    """``python -m tests.house [--root CHECKOUT] [--rooms]``."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout of the project")
    parser.add_argument("--rooms", action="store_true", help="list each room and what it imports")
    args = parser.parse_args()
    rooms, modules = room_graph(args.root), module_graph(args.root)
    print(f"rooms       {len(rooms)}")
    print(f"arrows      {sum(map(len, rooms.values()))} between rooms, "
          f"{sum(map(len, modules.values()))} between modules")  # fmt: skip
    print(f"circles     {len(circles(rooms))} of rooms, {len(circles(modules))} of modules")
    for circle in circles(rooms):
        print("            " + " <-> ".join(circle))
    print("\n".join(describe(args.root)))
    if args.rooms:
        for room, targets in sorted(rooms.items()):
            print(f"{room}: {', '.join(sorted(targets)) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
