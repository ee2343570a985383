"""Who may import whom, room by room, read from the sources: imports inside functions count too."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.house.graph import (
    PACKAGES,
    circles,
    find_modules,
    module_graph,
    read_imports,
    room_graph,
    room_of,
)
from tests.house.sizes import (
    Function,
    count_lines,
    folder_sizes,
    functions,
    python_files,
)

WALLS = """
schemas:
schemas.avro: schemas
schemas.json: schemas
schemas.csv: schemas
schemas.scores: schemas schemas.avro
schemas.transactions: schemas schemas.avro schemas.json
errors:
drift:
runtime: schemas errors
settings: runtime
features.interpreter: schemas
features.operations: schemas features.interpreter
features.history: schemas errors runtime features.operations
features: schemas errors features.interpreter features.operations features.history
kafka: schemas errors runtime
model.store: errors runtime features.history
model.forest: schemas errors runtime
model: schemas schemas.json errors runtime features.operations features.history features
    model.store model.forest
model.serving: errors drift runtime model.store model
model.versions: errors runtime model.store model model.serving
tracking: runtime
dead_letters: schemas schemas.json schemas.transactions errors runtime settings kafka
state: schemas schemas.transactions errors runtime settings features.history kafka model.store
    model dead_letters
state.admin: schemas errors runtime features.history kafka model.store model state
audit.records: schemas schemas.scores schemas.transactions runtime kafka dead_letters
audit.recompute: schemas schemas.scores errors kafka model state audit.records
audit: schemas.transactions errors runtime settings kafka model state audit.records
    audit.recompute
stream.rejections: schemas errors runtime kafka dead_letters
stream: schemas schemas.scores schemas.transactions errors drift runtime kafka model
    model.serving dead_letters stream.rejections
shadow: schemas schemas.scores schemas.transactions errors runtime settings kafka model.store
    model stream
observability: schemas errors drift runtime kafka model.serving stream shadow
process: schemas schemas.scores schemas.transactions errors drift runtime settings
    features.history features kafka model.store model.forest model model.serving dead_letters
    state stream.rejections stream shadow observability
autoscaling: errors
local: errors runtime kafka
local.loop: errors local
labels: schemas schemas.csv runtime settings kafka
quality: schemas schemas.scores schemas.transactions errors runtime settings kafka model.store
    audit.records labels
shadow.compare: schemas schemas.scores errors runtime settings kafka shadow labels quality
replay: schemas schemas.transactions errors runtime settings kafka model state audit.records
    labels quality
cli: schemas schemas.csv schemas.transactions errors runtime settings kafka model.store model
    model.versions dead_letters state state.admin audit.records audit stream.rejections process
    autoscaling local local.loop labels quality replay
drift.reading: schemas.transactions errors drift runtime settings kafka model state
    audit.records
cli.drift: errors drift runtime settings model.store model cli drift.reading
cli.history: errors runtime settings features.history kafka model.store model state state.admin
    process cli
cli.labels: errors runtime settings kafka labels cli
cli.parsing: runtime settings cli cli.drift cli.history cli.labels
__main__: schemas errors runtime cli cli.parsing
trainer.synth: errors
trainer.report: errors runtime
trainer.programs: schemas runtime features.operations features.history features
trainer.fitting: schemas errors runtime model.forest
trainer.data: schemas schemas.csv errors runtime settings labels trainer.synth trainer.fitting
trainer.evaluation: schemas drift features model.forest model quality trainer.synth
    trainer.fitting trainer.data
trainer.history: schemas errors features.history features model trainer.data
trainer.ablation: schemas errors runtime features.history features trainer.programs
    trainer.fitting trainer.data trainer.evaluation trainer.history
trainer.tuning: schemas errors features model.forest trainer.report trainer.fitting trainer.data
    trainer.evaluation trainer.history
trainer.publishing: errors runtime model.store model model.versions tracking trainer.report
    trainer.history
trainer.settings: runtime
trainer.memory:
trainer.stages: trainer.memory
trainer.cpus:
trainer.learning: schemas features trainer.fitting trainer.data trainer.history trainer.stages
trainer.served: trainer.fitting trainer.data trainer.evaluation trainer.learning
trainer.rival: model trainer.fitting trainer.data trainer.evaluation trainer.history
    trainer.learning
trainer.candidate: schemas features model trainer.fitting trainer.data trainer.evaluation
    trainer.history trainer.stages trainer.rival
trainer.pipeline: features model trainer.programs trainer.fitting trainer.data
    trainer.evaluation trainer.history trainer.memory trainer.stages trainer.learning
    trainer.served trainer.rival trainer.candidate
trainer.import_pipeline: features model trainer.fitting trainer.data trainer.evaluation
    trainer.stages trainer.rival trainer.candidate
trainer.skew: schemas schemas.transactions errors runtime settings features.history kafka
    model.store state trainer.data trainer.history
trainer.commands.flags: model.store trainer.fitting trainer.publishing trainer.settings
trainer.challenger: errors runtime settings model.store model.versions labels quality
    shadow.compare trainer.fitting trainer.data trainer.settings
trainer.commands: errors runtime settings features.history features model.store model.versions
    trainer.synth trainer.report trainer.programs trainer.fitting trainer.data trainer.ablation
    trainer.tuning trainer.publishing trainer.settings trainer.stages trainer.cpus
    trainer.candidate trainer.pipeline trainer.import_pipeline trainer.skew
    trainer.commands.flags trainer.challenger
trainer: schemas errors runtime trainer.fitting trainer.settings trainer.commands
dashboard.settings: runtime settings
dashboard.connections:
dashboard.model_status: model model.serving
dashboard.history: schemas schemas.transactions errors runtime settings features.history kafka
    model.store state dashboard.settings dashboard.model_status
dashboard.predict_request: schemas schemas.json
dashboard.explaining: schemas schemas.json model dashboard.predict_request
dashboard.explain: model dashboard.explaining
dashboard.predicting: schemas schemas.json errors model dashboard.history
    dashboard.predict_request
dashboard.models: errors runtime model.store model.versions drift.reading
dashboard.cache: schemas
dashboard.cases: schemas errors runtime settings kafka labels dashboard.settings dashboard.cache
dashboard.feed: schemas schemas.scores errors runtime settings kafka dashboard.cache
dashboard.masking:
dashboard.memory:
dashboard.live: dashboard.model_status dashboard.cache dashboard.feed dashboard.masking
dashboard.trainings: runtime dashboard.settings
dashboard.metrics: dashboard.model_status dashboard.history dashboard.cases dashboard.feed
    dashboard.trainings
dashboard.operations: errors drift runtime settings kafka model dead_letters
    dashboard.model_status dashboard.feed
dashboard.web: schemas errors runtime model drift.reading dashboard.settings
    dashboard.model_status dashboard.history dashboard.predict_request dashboard.predicting
    dashboard.models dashboard.cache dashboard.cases dashboard.feed dashboard.masking
    dashboard.live dashboard.trainings dashboard.metrics dashboard.operations
dashboard.web.cases: dashboard.cache dashboard.cases dashboard.masking dashboard.web
dashboard.web.trainings: errors runtime model.store dashboard.models dashboard.cases
    dashboard.trainings dashboard.web dashboard.web.cases
dashboard.web.quality: errors runtime quality dashboard.web
dashboard.web.challenger: errors runtime model.store dashboard.web
dashboard.web.admin: schemas.json errors model.store model.versions tracking dashboard.settings
    dashboard.model_status dashboard.history dashboard.models dashboard.cache dashboard.cases
    dashboard.feed dashboard.masking dashboard.live dashboard.operations dashboard.web
    dashboard.web.cases dashboard.web.trainings dashboard.web.quality dashboard.web.challenger
dashboard.whatif: schemas quality
dashboard.web.threshold: model.store quality dashboard.cache dashboard.web dashboard.web.quality
    dashboard.whatif
dashboard.web.explaining: schemas model dashboard.history dashboard.predict_request
    dashboard.explaining dashboard.explain dashboard.predicting dashboard.web
dashboard.web.drift: errors drift drift.reading dashboard.web
dashboard.web.queue: dashboard.cache dashboard.web
dashboard.web.lookups: errors dashboard.cache dashboard.feed dashboard.masking dashboard.web
dashboard.web.detail: dashboard.history dashboard.explain dashboard.cache dashboard.cases
    dashboard.masking dashboard.web dashboard.web.cases
dashboard: schemas errors runtime model.store model model.serving dashboard.settings
    dashboard.connections dashboard.model_status dashboard.history dashboard.models
    dashboard.cache dashboard.cases dashboard.feed dashboard.masking dashboard.memory
    dashboard.live dashboard.trainings dashboard.metrics dashboard.operations dashboard.web
    dashboard.web.cases dashboard.web.trainings dashboard.web.quality dashboard.web.challenger
    dashboard.web.admin dashboard.web.threshold dashboard.web.explaining dashboard.web.drift
    dashboard.web.queue dashboard.web.lookups dashboard.web.detail
"""
"""Room → the rooms it imports from, lowest first; ``stream_scorer.`` is left out.

A new arrow is a deliberate edit of this table, and an arrow that is gone leaves it. A room may
import only from rooms in rows above its own, so no arrow leads upwards and there is no circle.
"""

BROKEN_ONCE = {
    "a topic reader knows no audit": ("kafka", "audit"),
    "dead letters know no audit": ("dead_letters", "audit"),
    "a proof knows no terminal": ("audit", "cli"),
    "dead letters know no terminal": ("dead_letters", "cli"),
    "the scorer process needs no auditor": ("process", "audit"),
    "the in-memory broker knows no monitoring": ("stream", "observability"),
}
"""Walls that stood only on paper until each had a room on either side: (room, what it never sees,
not even by way of another room)."""

OWNERS: dict[str, set[str] | re.Pattern[str]] = {
    # The Schema Registry's client is HTTP alone, and the settings it needs are the registry's.
    "confluent_kafka": re.compile(r"stream_scorer\.(kafka\..*|runtime\.schema_requests)"),
    "boto3": {"stream_scorer.runtime.s3"},
    "botocore": {"stream_scorer.runtime.s3", "stream_scorer.model.store.s3_store"},
    "lightgbm": {
        "stream_scorer.model.forest.lightgbm_model",
        "stream_scorer.cli.doctor",
        "trainer.fitting.fit_lightgbm",
        "trainer.ablation.fit",
    },
    "xgboost": {"trainer.fitting.fit_xgboost"},
    "optuna": {"trainer.tuning.study"},
    "sqlalchemy": {"trainer.tuning.study"},
    "fastapi": re.compile(r"dashboard\.(web|live)\..*|dashboard\.(app|server)"),
    "starlette": re.compile(r"dashboard\.(web|live)\..*|dashboard\.(app|protocol|server)"),
    "prometheus_client": {
        "stream_scorer.observability.metrics",
        "stream_scorer.observability.history_metrics",
        "stream_scorer.observability.collectors",
        "stream_scorer.quality.metrics",
        "stream_scorer.observability.drift_metrics",
        "stream_scorer.observability.shadow_metrics",
        "trainer.publishing.telemetry",
        "dashboard.metrics",
    },
    "opentelemetry": {"stream_scorer.runtime.tracing"},
    "mlflow": {"trainer.publishing.tracking_log"},
    "pickle": {"stream_scorer.model.bundle"},
}
"""Library → the modules that may import it."""

TOP_OF_STREAM_SCORER = {"__init__", "__main__", "errors", "settings"}

MOST_FILES = 20
MOST_LINES = 350
MOST_FUNCTION_LINES = 60
MOST_PARAMETERS = 8


@cache
def modules() -> dict[str, Path]:
    return find_modules()


@cache
def rooms() -> dict[str, frozenset[str]]:
    return {room: frozenset(targets) for room, targets in room_graph().items() if targets or room}


@cache
def walls() -> dict[str, frozenset[str]]:
    rows = (row.split(":") for row in re.sub(r"\n +", " ", WALLS).strip().splitlines())
    return {_full(room): frozenset(map(_full, row.split())) for room, row in rows}


def _full(name: str) -> str:
    return name if name.partition(".")[0] in PACKAGES else f"stream_scorer.{name}"


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    return list(read_imports(path, modules()))


@cache
def all_functions() -> list[Function]:
    return [function for path in python_files() for function in functions(path)]


def is_within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def test_every_room_has_its_row() -> None:
    assert set(walls()) == set(rooms()) - {"stream_scorer"}  # whose own file is empty


@pytest.mark.parametrize(
    "room", sorted({room_of(name, modules()) for name in modules()} - {"stream_scorer"})
)
def test_room_imports_what_its_row_says(room: str) -> None:
    allowed = walls()[room]
    new = [
        f"{module}:{line} imports {name}"
        for module, path in modules().items()
        if room_of(module, modules()) == room
        for line, name in imports(path)
        if name in modules() and room_of(name, modules()) not in {*allowed, room, "stream_scorer"}
    ]
    assert not new, "\n".join(new)
    gone = allowed - rooms()[room]
    assert not gone, f"no longer imported: take {', '.join(sorted(gone))} out of the row"


def test_no_arrow_leads_upwards() -> None:
    order = list(walls())
    upward = [
        f"{room} imports {target}, whose row comes after its own"
        for room, targets in walls().items()
        for target in targets
        if order.index(target) > order.index(room)
    ]
    assert not upward, "\n".join(upward)


def test_there_is_no_circle() -> None:
    assert circles(module_graph()) == []
    assert circles({room: set(targets) for room, targets in rooms().items()}) == []


@pytest.mark.parametrize("wall", list(BROKEN_ONCE))
def test_wall_that_was_broken_once_holds(wall: str) -> None:
    room, hidden = map(_full, BROKEN_ONCE[wall])
    seen, todo = set[str](), [room]
    while todo:
        for target in rooms()[todo.pop()] - seen:
            seen.add(target)
            todo.append(target)
    assert hidden not in seen, wall


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
    users = {
        module: f"{module}:{line} imports {name}"
        for module, path in modules().items()
        for line, name in imports(path)
        if is_within(name, (library,))
    }
    faults = [said for module, said in users.items() if not _owns(owners, module)]
    assert not faults, "\n".join(faults)
    assert users or library == "pickle", f"nobody imports {library} any more"


def _owns(owners: set[str] | re.Pattern[str], module: str) -> bool:
    if isinstance(owners, re.Pattern):
        return owners.fullmatch(module) is not None
    return module in owners


def test_packages_do_no_work_when_they_are_imported() -> None:
    for module, path in modules().items():
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            kinds = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
            assert all(isinstance(node, kinds) for node in body), module


def test_each_room_says_its_concern_in_one_sentence() -> None:
    for module, path in modules().items():
        if path.name == "__init__.py":
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            assert said.partition("\n")[0].endswith("."), f"{module} does not say what it is about"


def test_top_of_the_scorers_package_holds_only_what_every_room_needs() -> None:
    top = {path.stem for path in modules()["stream_scorer"].parent.glob("*.py")}
    assert top == TOP_OF_STREAM_SCORER


def test_no_folder_is_crowded() -> None:
    sizes = folder_sizes(folders=(*PACKAGES, "tests"))
    assert {folder: n for folder, n in sizes.items() if n > MOST_FILES} == {}


def test_no_file_is_a_hub() -> None:
    assert {str(p): n for p in python_files() if (n := count_lines(p)) > MOST_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    """Compiled kernels are exempt: a loop that is split is a slower loop."""
    found = [f for f in all_functions() if not f.is_compiled]
    assert [f for f in found if f.lines > MOST_FUNCTION_LINES] == []


def test_no_constructor_takes_more_than_a_few_parameters() -> None:
    found = [f for f in all_functions() if f.name == "__init__"]
    assert [f for f in found if f.parameters > MOST_PARAMETERS] == []
