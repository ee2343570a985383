"""How long files, functions and parameter lists are, and how many files a folder holds."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.house.graph import PACKAGES, ROOT


@dataclass(frozen=True, slots=True)
class Function:
    """A function, its length in lines and its number of parameters without ``self``."""

    place: str
    name: str
    lines: int
    parameters: int
    is_compiled: bool


def python_files(root: Path = ROOT, folders: tuple[str, ...] = PACKAGES) -> list[Path]:
    """All Python files of the given folders."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def count_lines(path: Path) -> int:
    """The lines of a file."""
    return path.read_text(encoding="utf-8").count("\n")


def functions(path: Path, root: Path = ROOT) -> Iterator[Function]:
    """The functions of a file, nested ones and methods included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        given = node.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        decorators = " ".join(ast.unparse(d) for d in node.decorator_list)
        yield Function(
            f"{path.relative_to(root)}:{node.lineno}",
            node.name,
            (node.end_lineno or node.lineno) - node.lineno + 1,
            len([n for n in names if n not in ("self", "cls")]),
            any(word in decorators for word in ("compiled", "inlined", "njit", "jit", "intrinsic")),
        )


def folder_sizes(root: Path = ROOT, folders: tuple[str, ...] = PACKAGES) -> Counter[str]:
    """Python files by folder."""
    return Counter(str(p.parent.relative_to(root)) for p in python_files(root, folders))


def describe(root: Path = ROOT) -> list[str]:
    """The figures of a tree, a line each."""
    files = python_files(root)
    lines = [count_lines(path) for path in files]
    found = [f for path in files for f in functions(path, root) if not f.is_compiled]
    lengths = sorted(f.lines for f in found)
    constructors = [f for f in found if f.name == "__init__"]
    largest = folder_sizes(root).most_common(1)[0]
    longest = max(found, key=lambda f: f.lines)
    widest = max(constructors, key=lambda f: f.parameters)
    return [
        f"files       {len(files)}, {sum(lines):,} lines, median {median(lines):.0f}",
        f"            longest {max(lines)}, over 350 lines: {sum(n > 350 for n in lines)}",
        f"folders     largest {largest[0]} with {largest[1]} files",
        f"functions   {len(found)} outside compiled loops, median {median(lengths):.0f} lines",
        f"            90 % at most {lengths[len(lengths) * 9 // 10]}",
        f"            over 60 lines: {sum(n > 60 for n in lengths)}",
        f"            longest {longest.lines} ({longest.place} {longest.name})",
        f"parameters  at most {widest.parameters} of a constructor ({widest.place})",
    ]
