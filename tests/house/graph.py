"""The import graph of the project, by module and by room, read from the sources only.

A room is a folder of modules with one concern. Each module at the top of ``stream_scorer``,
``trainer`` or ``dashboard`` is a room of its own, because those modules have nothing in common.
Modules that make up a process form the room ``dashboard`` or ``trainer``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("schemas", "stream_scorer", "trainer", "dashboard")
ROOT = Path(__file__).parents[2]

_SINGLE = ("stream_scorer", "trainer", "dashboard")
_COMPOSITION = (
    "trainer.__main__",
    "dashboard.app",
    "dashboard.server",
    "dashboard.protocol",
    "dashboard.__main__",
)

Graph = dict[str, set[str]]


def find_modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name → file, for every module and package of the project."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def read_imports(path: Path, modules: Mapping[str, Path]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, also inside functions."""
    stat = path.stat()
    for reference in _references(path, stat.st_mtime_ns, stat.st_size):
        if (name := reference.name_in(modules)) is not None:
            yield reference.line, name


class _Reference(NamedTuple):
    """Something in a file that may import a module."""

    line: int
    name: str
    parent: str | None = None
    """Where ``name`` was imported from, if it may be no module itself."""
    is_text: bool = False
    """A string, which counts only if it names one of our modules."""

    def name_in(self, modules: Mapping[str, Path]) -> str | None:
        if self.is_text:
            return self.name if self.name in modules else None
        # ``from package import module`` imports the module.
        return self.name if self.parent is None or self.name in modules else self.parent


@cache
def _references(path: Path, *_version: int) -> tuple[_Reference, ...]:
    """All references of one version of a file: many tests read the same files."""
    return tuple(_find_references(path))


def _find_references(path: Path) -> Iterator[_Reference]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_Reference(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"{path}:{node.lineno}: a relative import")
            base = node.module or ""
            for alias in node.names:
                yield _Reference(node.lineno, f"{base}.{alias.name}", base)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield _Reference(node.lineno, str(argument.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # ``module:attribute`` names a command's handler, which is imported when it runs.
            module, colon, _ = node.value.partition(":")
            if colon:
                yield _Reference(node.lineno, module, is_text=True)


def room_of(module: str, modules: Mapping[str, Path]) -> str:
    """The room that a module belongs to."""
    if modules[module].name == "__init__.py":
        return module
    parent = module.rpartition(".")[0]
    if parent in _SINGLE and module not in _COMPOSITION:
        return module
    return parent


def module_graph(root: Path = ROOT) -> Graph:
    """Module → the modules of the project it imports."""
    modules = find_modules(root)
    return {
        module: {name for _, name in read_imports(path, modules) if name in modules} - {module}
        for module, path in modules.items()
    }


def room_graph(root: Path = ROOT) -> Graph:
    """Room → the rooms it imports from. An empty package is not counted as imported."""
    modules = find_modules(root)
    rooms: Graph = {}
    for module, targets in module_graph(root).items():
        room = rooms.setdefault(room_of(module, modules), set())
        room |= {room_of(t, modules) for t in targets if modules[t].stat().st_size or "." in t}
    for name, targets in rooms.items():
        targets -= {name, *PACKAGES} - {"schemas"}
        targets.discard(name)
    return rooms


def circles(graph: Graph) -> list[list[str]]:
    """Sets of nodes that reach each other (Tarjan's strongly connected components, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)
