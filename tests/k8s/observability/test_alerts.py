"""Every alerting rule has a text, a runbook and tests, with and without the operator."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.k8s.support.drift_alerts import PATH, render_cases
from tests.k8s.support.metric_names import exposed, metric_names, recorded
from tests.k8s.support.rendering import ROOT, render
from tests.k8s.support.rules import PLAIN, UNIT_TESTS, alerts, groups, render_plain, rules
from tests.k8s.support.runbooks import anchors, sections

NAMES = [alert["alert"] for alert in alerts()]
EXTERNAL = {
    "up",
    # kube-state-metrics
    "kube_cronjob_created",
    "kube_cronjob_spec_suspend",
    "kube_cronjob_status_last_successful_time",
    "kube_job_status_failed",
    "kube_job_status_start_time",
}
SEVERITIES = {"critical", "warning", "info"}
PARTS = ["Meaning", "Impact", "Check", "Fix", "Resolved when"]


def test_plain_rule_file_is_generated_from_the_manifests() -> None:
    assert PLAIN.read_text("utf-8") == render_plain(), "python -m tests.k8s.support.rules writes it"


def test_production_has_every_rule() -> None:
    manifests = [o for o in render("overlays/production") if o["kind"] == "PrometheusRule"]
    found = [group["name"] for item in manifests for group in item["spec"]["groups"]]
    assert sorted(found) == sorted(group["name"] for group in groups())
    assert len(found) == len(set(found))


def test_tests_of_the_drift_alerts_are_generated_from_counted_data() -> None:
    assert PATH.read_text("utf-8") == render_cases(), (
        "python -m tests.k8s.support.drift_alerts writes it"
    )


def test_every_metric_of_every_rule_exists() -> None:
    known = exposed() | recorded() | EXTERNAL
    for rule in rules():
        assert metric_names(rule["expr"]) <= known, rule


def test_names_are_unique_and_no_rule_records_an_exposed_metric() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert not recorded() & exposed()
    assert all(":" in name for name in recorded())


@pytest.mark.parametrize("alert", alerts(), ids=NAMES)
def test_alert_has_a_severity_a_text_and_a_runbook(alert: dict[str, dict[str, str]]) -> None:
    notes = alert["annotations"]
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in SEVERITIES
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/runbooks.md#{str(alert['alert']).lower()}"
    assert str(alert["alert"]).lower() in anchors()
    assert len(notes["summary"]) < 80


def test_pages_name_only_alerts_that_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "k8s/README.md", *(ROOT / "docs").rglob("*.md")]
    found = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\bFraud[A-Z][A-Za-z]+\b", page.read_text("utf-8"))
    }
    assert ("runbooks.md", NAMES[0]) in found
    assert {one for one in found if one[1] not in NAMES} == set()


@pytest.mark.parametrize("alert", alerts(), ids=NAMES)
def test_texts_use_only_labels_that_the_alert_has(alert: dict[str, dict[str, str]]) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    expr = str(alert["expr"])
    by = re.findall(r"\b(?:max|min|sum|count) by \(([^)]*)\)", expr)
    if by:
        assert used <= set(by[0].split(", ")), used
    elif not metric_names(expr) & recorded():
        assert used <= {"instance", "pod", "namespace", "job"}
    else:
        assert used <= {"namespace", "version"}


@pytest.mark.parametrize("alert", NAMES)
def test_runbook_has_the_same_parts_in_the_same_order(alert: str) -> None:
    text = sections()[alert.lower()]
    assert re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE) == PARTS


@pytest.mark.parametrize("alert", alerts(), ids=NAMES)
def test_runbook_names_the_severity_of_the_alert(alert: dict[str, dict[str, str]]) -> None:
    meaning = sections()[str(alert["alert"]).lower()].partition("**Impact**")[0]
    severity = alert["labels"]["severity"]
    assert re.search(rf"Severity:\s{severity}[.,]", meaning)


def test_every_runbook_belongs_to_an_alert() -> None:
    prefixes = ("fraud", "history", "modelwaits")
    about_alerts = {anchor for anchor in anchors() if anchor.startswith(prefixes)}
    assert about_alerts == {name.lower() for name in NAMES}


@pytest.mark.parametrize("alert", NAMES)
def test_alert_has_a_test_that_it_fires_and_one_that_it_does_not(alert: str) -> None:
    cases = [case for path in UNIT_TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    own = [case for case in cases if case["name"].startswith(f"{alert} ")]
    firing = [case["name"] for case in own if f'"{alert}"' in str(case["promql_expr_test"])]
    assert all(f"{alert} fires " in name for name in firing)
    assert firing
    assert len(own) > len(firing)
