"""The Grafana dashboards query metrics that exist, and can be imported anywhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.k8s.support.boards import boards, filled, panels, queries, variable_queries
from tests.k8s.support.metric_names import exposed, metric_names, recorded
from tests.k8s.support.rendering import ROOT, load, render, select
from tests.k8s.support.runbooks import anchors

BOARDS = list(boards())
UNITS = {"bytes", "ops", "percentunit", "reqps", "s", "short"}


def test_there_are_three_boards_with_unique_titles_and_ids() -> None:
    assert BOARDS == ["fraud-model.json", "fraud-service.json", "fraud-training.json"]
    for field in ("uid", "title"):
        assert len({board[field] for board in boards().values()}) == len(BOARDS)


def test_every_metric_of_every_query_exists() -> None:
    known = exposed() | recorded() | {"up"}
    for query in queries():
        assert metric_names(query.expr) <= known, query
    for board in BOARDS:
        for selector in variable_queries(board):
            assert metric_names(selector) <= known, selector


def test_metric_names_are_found_in_expressions() -> None:
    text = 'sum by (pod) (rate(a_total{job="b_c",d!~"e"}[5m])) / on (f) group_left () ln(g:h_i) > 2'
    assert metric_names(text) == {"a_total", "g:h_i"}
    assert metric_names("histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m] offset 1h)))") == {
        "x_bucket"
    }  # fmt: skip


@pytest.mark.parametrize("board", BOARDS)
def test_data_source_is_always_the_variable(board: str) -> None:
    def sources(value: Any) -> list[Any]:
        if isinstance(value, dict):
            own = [value["datasource"]] if "datasource" in value else []
            return own + [found for v in value.values() for found in sources(v)]
        if isinstance(value, list):
            return [found for v in value for found in sources(v)]
        return []

    found = sources(boards()[board])
    assert found
    assert all(s == {"type": "prometheus", "uid": "${datasource}"} for s in found)
    variables = [v["name"] for v in boards()[board]["templating"]["list"]]
    assert variables[0] == "datasource"
    assert "id" not in boards()[board]  # Grafana assigns it; a fixed one could conflict


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_used_is_declared(board: str) -> None:
    declared = {v["name"] for v in boards()[board]["templating"]["list"]}
    used = {name for q in queries() if q.board == board for name in re.findall(r"\$(\w+)", q.expr)}
    assert used - {"__rate_interval"} <= declared
    assert all("$" not in filled(q.expr) for q in queries())


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_has_a_description_a_unit_and_a_query(board: str) -> None:
    for panel in panels(board):
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"]


@pytest.mark.parametrize("board", BOARDS)
def test_panels_fit_the_grid_and_do_not_overlap(board: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in boards()[board]["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in boards()[board]["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("board", BOARDS)
def test_runbook_links_exist(board: str) -> None:
    links = [link["url"] for panel in panels(board) for link in panel.get("links", [])]
    assert links
    for url in links:
        path, _, anchor = url.partition("#")
        assert (ROOT / path).is_file()
        assert anchor in anchors()


def test_production_has_the_dashboards_with_the_label_of_the_grafana_sidecar() -> None:
    data = select(render("overlays/production"), "ConfigMap", "fraud-grafana-dashboards")["data"]
    assert sorted(data) == BOARDS
    assert sum(len(text.encode()) for text in data.values()) < 900_000  # a ConfigMap holds 1 MiB
    spec = load(ROOT / "k8s/components/monitoring/kustomization.yaml")
    generators = {one["name"]: one for one in spec["configMapGenerator"]}
    generator = generators["fraud-grafana-dashboards"]
    assert generator["options"]["labels"] == {"grafana_dashboard": "1"}


def test_scraped_jobs_have_the_names_used_in_queries() -> None:
    used = {name for q in queries() for name in re.findall(r'job="([^"]+)"', q.expr)}
    plain = load(ROOT / "k8s/observability/prometheus.yml")
    assert used <= {job["job_name"] for job in plain["scrape_configs"]}
    objects = render("overlays/production")
    for kind, name in (("PodMonitor", "stream-scorer"), ("ServiceMonitor", "fraud-dashboard")):
        monitor = select(objects, kind, name)
        assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
        assert monitor["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        assert name in used


def test_documentation_lists_every_metric_and_no_others() -> None:
    text = (ROOT / "docs/observability.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z][a-z_:]+[a-z0-9])(?=[`{])", text))
    samples = {name for name in exposed() if not name.endswith("_created")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples}
    wild = tuple(re.findall(r"`([a-z_]+_)\*`", text))
    assert {f for f in families if f not in named and not f.startswith(wild)} <= {
        "feature_engineering_time"  # the old name of the same metric
    }
    known = exposed() | families | recorded()
    metrics = {
        n for n in named if re.match(r"fraud_scorer|model_|prediction_|request_l|request_c", n)
    }
    assert metrics <= known
