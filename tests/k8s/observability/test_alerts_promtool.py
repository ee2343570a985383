"""Rules and configuration, checked with promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.support.boards import filled, queries, variable_queries
from tests.k8s.support.observed import find_tool
from tests.k8s.support.rendering import K8S
from tests.k8s.support.rules import PLAIN, UNIT_TESTS

PROMTOOL = find_tool("promtool")

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: run make observe-check"),
]


def promtool(*arguments: str | Path, folder: Path | None = None) -> None:
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_pass_the_lint() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", PLAIN)


def test_prometheus_configuration_of_compose_is_valid() -> None:
    promtool("check", "config", "--lint=all", K8S / "observability/prometheus.yml")


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: str(path.stem))
def test_unit_tests_of_the_alerts_pass(path: Path, tmp_path: Path) -> None:
    found = yaml.safe_load(PLAIN.read_text("utf-8"))["groups"]
    # The series of drift are of eight days and of scorers alone, and its rules are slow for others.
    is_drift = path.stem == "drift"
    found = [group for group in found if group["name"].startswith("fraud-drift") == is_drift]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": found}), "utf-8")
    shutil.copy(path, tmp_path)
    promtool("test", "rules", path.name, folder=tmp_path)


def test_every_query_of_the_dashboards_parses(tmp_path: Path) -> None:
    used = {filled(q.expr) for q in queries()}
    used |= {filled(s) for b in {q.board for q in queries()} for s in variable_queries(b)}
    found = [{"record": f"query:{n}", "expr": expr} for n, expr in enumerate(sorted(used))]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": found}]}))
    promtool("check", "rules", path)
