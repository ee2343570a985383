"""A real Prometheus on a real run: targets, dashboards and alerts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from xml.etree.ElementTree import fromstring

import pytest

from tests.k8s.support.board_picture import draw
from tests.k8s.support.boards import boards, filled, queries, variable_queries
from tests.k8s.support.observed import PER_SECOND, Prometheus, find_tool, observed_system
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        find_tool("prometheus") is None,
        reason="prometheus is missing: run make observe-check",
    ),
]

EMPTY = {
    "Time since last failure": "no training failed",
    "Probation figures": "the very first version is not on probation",
    **dict.fromkeys(
        (
            "Precision at review",
            "Recall at review",
            "Precision minus promise",
            "Average precision, matured",
            "Labels",
            "Amount of fraud",
        ),
        "live quality is measured at night",
    ),
    **dict.fromkeys(
        (
            "PSI of scores, 1 day",
            "PSI of scores, 1 week",
            "Features that moved most, 1 day",
            "Features that moved most, 1 week",
            "Change of missing values, 1 day",
        ),
        "drift of days is recorded every hour",
    ),
    "Time for a transaction": "there is no challenger",
}
"""Panels that are empty on a healthy run, and why."""

FIRING = {
    "FraudScorerDeadLetters": "2 % of the records are corrupted on purpose",
}
"""Alerts that may be pending or firing here, and why."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with observed_system(tmp_path_factory.mktemp("observed")) as observed:
        prometheus = observed.prometheus
        # Rates need a few scrapes, and some rules need the results of another group.
        wait_until(
            lambda: (
                len(prometheus.series("fraud_scorer:late:ratio_5m", 120)) > 0
                and prometheus.value("sum(fraud_scorer_batch_records_sum) > 5000")
                and prometheus.value("fraud_scorer:score_psi:6h")
                and prometheus.value("fraud_scorer_partition_stuck")
                and prometheus.value("fraud_dashboard:predict_slow:ratio_rate1h")
            ),
            300,
            what="one minute of metrics",
            interval=1,
        )
        yield prometheus


def test_every_target_is_up(prometheus: Prometheus) -> None:
    jobs = {t["labels"]["job"] for t in prometheus.targets()}
    assert jobs == {"stream-scorer", "fraud-dashboard", "fraud-trainer"}
    # A single late answer is not a failure.
    wait_until(
        lambda: all(target["health"] == "up" for target in prometheus.targets()),
        what="every target to be up", interval=1,
    )  # fmt: skip


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    empty: set[str] = set()

    def are_filled() -> bool:
        nonlocal empty
        empty = {q.panel for q in queries() if not prometheus.value(filled(q.expr))}
        return empty == set(EMPTY)

    with suppress(AssertionError):  # the assertion below names the panels
        wait_until(are_filled, interval=1)
    assert empty == set(EMPTY)  # as it was then: after a late scrape a panel is empty again


def test_every_variable_has_values(prometheus: Prometheus) -> None:
    for board in boards():
        for selector in variable_queries(board):
            assert prometheus.get("series", **{"match[]": filled(selector)}), (board, selector)


def test_metrics_match_the_run(prometheus: Prometheus) -> None:
    def number(expr: str) -> float:
        # After a late scrape there is no value until the next one.
        (found,) = wait_until(lambda: prometheus.value(expr), what=expr, interval=1)
        return float(found["value"][1])

    rate = "sum(rate(fraud_scorer_batch_records_sum[20s]))"
    wait_until(
        lambda: prometheus.value(f"{rate} > {PER_SECOND / 2}"),
        what="the rate of the producer", interval=1,
    )  # fmt: skip
    assert 0 < number("fraud_scorer:dead_letters:share10m") < 0.2
    assert 0 < number("fraud_scorer:flagged:share1h") < 0.5
    assert 0 <= number("fraud_scorer:score_psi:6h") < 1
    assert number("sum(fraud_scorer:score_bins:share6h)") == pytest.approx(1)
    assert number("sum(fraud_scorer_score_bin_expected)") == pytest.approx(1)
    assert number("sum(fraud_scorer_assigned_partitions)") == 12
    assert number("fraud_dashboard:predict_errors:ratio_rate5m") == 0


def alerting(prometheus: Prometheus) -> set[str]:
    """Alerts that are pending or firing, except budget alerts that are only pending."""
    states = {rule["name"]: rule.get("state", "inactive") for rule in prometheus.rules()}
    ignored = {name for name, state in states.items() if state == "pending" and "Budget" in name}
    return {name for name, state in states.items() if state != "inactive"} - ignored


def test_every_rule_evaluates_and_no_unexpected_alert_fires(prometheus: Prometheus) -> None:
    wait_until(
        lambda: {rule["health"] for rule in prometheus.rules()} <= {"ok", "err"},
        what="every rule to have been evaluated",
    )
    # The windows of the budgets hold only a minute of data here, so a slow start alone can exceed
    # a budget. Its share falls with every good second.
    found: set[str] = set()

    def are_expected() -> bool:
        nonlocal found
        found = alerting(prometheus)
        return found <= set(FIRING)

    with suppress(AssertionError):  # the assertion below names the alerts
        wait_until(are_expected, 180, interval=1)
    assert found <= set(FIRING)
    rules = prometheus.rules()
    assert len(rules) > len(FIRING)
    assert [(r["name"], r["lastError"]) for r in rules if r["health"] != "ok"] == []


def test_picture_of_the_boards_has_data_in_every_panel(prometheus: Prometheus) -> None:
    picture = draw(prometheus, 60)
    fromstring(picture)  # noqa: S314 - generated here
    assert picture.count("<polyline") > picture.count("<g ") > 5
    assert "no data" not in picture
