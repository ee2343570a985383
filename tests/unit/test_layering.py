"""Who may import whom, read from the sources: imports inside functions count too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "stream_scorer", "trainer", "dashboard")

SHARED = ("stream_scorer.features", "stream_scorer.model", "stream_scorer.runtime",
          "stream_scorer.local", "stream_scorer.errors")  # fmt: skip
"""What the trainer and the dashboard may use of the scorer, beside ``schemas``."""

LAYERS = {
    "schemas": ("schemas",),
    "stream_scorer.features": ("schemas", "stream_scorer.features", "stream_scorer.errors"),
    "stream_scorer.errors": (),
    "stream_scorer.runtime": ("schemas", "stream_scorer.runtime", "stream_scorer.errors"),
    "stream_scorer.model": (
        "schemas",
        "stream_scorer.features",
        "stream_scorer.model",
        "stream_scorer.runtime",
        "stream_scorer.errors",
    ),
    "stream_scorer.local": ("schemas", *SHARED),
    "stream_scorer": ("schemas", "stream_scorer"),
    "trainer": ("schemas", *SHARED, "trainer"),
    "dashboard": ("schemas", *SHARED, "dashboard"),
}
"""Part of the project → what it may import of the project; the longest name that fits holds."""

OWNERS: dict[str, set[str] | re.Pattern[str]] = {
    "confluent_kafka": {
        "stream_scorer.runtime.kafka",
        "stream_scorer.runtime.registry",
        "stream_scorer.kafka_broker",
    },
    "boto3": {"stream_scorer.runtime.s3"},
    "botocore": {"stream_scorer.runtime.s3", "stream_scorer.model.s3_store"},
    "lightgbm": {"stream_scorer.model.lightgbm_model", "stream_scorer.doctor", "trainer.fit"},
    "fastapi": re.compile(r"dashboard\.(web|live)\..*|dashboard\.(app|server)"),
    "starlette": re.compile(r"dashboard\.(web|live)\..*|dashboard\.(app|server)"),
    "prometheus_client": {"stream_scorer.metrics", "trainer.telemetry", "dashboard.metrics"},
    "opentelemetry": {"stream_scorer.runtime.tracing"},
    "pickle": {"stream_scorer.model.bundle"},
}
"""Library → the modules that may import it."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the project, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, dotted name) of everything a file imports."""
    return tuple(_read_imports(path))


def _read_imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            base = node.module or ""
            # ``from package import module`` imports the module.
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, n if n in modules() else base) for n in names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def is_within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def layer_of(module: str) -> str:
    fitting = [layer for layer in LAYERS if is_within(module, (layer,))]
    return max(fitting, key=len)


def test_every_module_was_found() -> None:
    assert {"schemas.batch", "stream_scorer.loop", "stream_scorer.model.bundle"} <= modules().keys()
    assert {name.partition(".")[0] for name in modules()} == set(PACKAGES)


@pytest.mark.parametrize("layer", list(LAYERS))
def test_layer_imports_only_what_lies_below_it(layer: str) -> None:
    allowed = LAYERS[layer]
    faults = [
        f"{module}:{line} imports {name}"
        for module, path in modules().items()
        if layer_of(module) == layer
        for line, name in imports(path)
        if is_within(name, PACKAGES)
        and not is_within(name, allowed)
        # A package's own name, empty as it is, says nothing of its modules.
        and name != "stream_scorer"
    ]
    assert not faults, "\n".join(faults)


def test_nobody_imports_the_trainer_or_the_dashboard() -> None:
    faults = [
        f"{module}:{line} imports {name}"
        for module, path in modules().items()
        for line, name in imports(path)
        for process in ("trainer", "dashboard")
        if is_within(name, (process,)) and not is_within(module, (process,))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("library", list(OWNERS))
def test_library_is_imported_by_its_owners_alone(library: str) -> None:
    owners = OWNERS[library]
    faults = [
        f"{module}:{line} imports {name}"
        for module, path in modules().items()
        for line, name in imports(path)
        if is_within(name, (library,)) and not _owns(owners, module)
    ]
    assert not faults, "\n".join(faults)


def _owns(owners: set[str] | re.Pattern[str], module: str) -> bool:
    if isinstance(owners, re.Pattern):
        return owners.fullmatch(module) is not None
    return module in owners


@pytest.mark.parametrize("library", ["confluent_kafka", "boto3", "lightgbm", "prometheus_client"])
def test_each_owner_named_here_is_one(library: str) -> None:
    owners = OWNERS[library]
    assert isinstance(owners, set)
    users = {m for m, p in modules().items() for _, n in imports(p) if is_within(n, (library,))}
    assert users, f"nobody imports {library} any more"


def test_packages_do_no_work_when_they_are_imported() -> None:
    for module, path in modules().items():
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            kinds = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
            assert all(isinstance(node, kinds) for node in body), module


def test_shared_folders_and_the_scorers_files_are_what_there_is() -> None:
    folders = {p.name for p in (ROOT / "stream_scorer").iterdir() if (p / "__init__.py").exists()}
    assert folders == {"features", "model", "runtime", "local"}
