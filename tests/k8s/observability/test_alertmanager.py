"""The routes that start trainings: the same with and without the operator, for the right alerts."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from dashboard.web.tokens import WEBHOOK_ROUTES
from dashboard.web.trainings.bodies import DRIFT_ALERTS
from tests.k8s.support.alert_path import CONFIGURATION, WEBHOOK
from tests.k8s.support.faster import FACTOR, WAITS, faster
from tests.k8s.support.observed import find_tool
from tests.k8s.support.rendering import K8S, load
from tests.k8s.support.rules import alerts, groups

OPERATOR = K8S / "components/training-alerts/drift-alertmanagerconfig.yaml"
AMTOOL = find_tool("amtool")


def plain() -> Any:
    return yaml.safe_load(CONFIGURATION.read_text("utf-8"))


def snake_case(value: Any) -> Any:
    """The names of the operator's resource as Alertmanager has them."""
    if isinstance(value, list):
        return [snake_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", key): snake_case(one)
            for key, one in value.items()}  # fmt: skip


def test_operator_has_the_same_route_and_receiver_to_the_dashboard() -> None:
    spec = snake_case(load(OPERATOR)["spec"])
    (matcher,) = spec["route"]["matchers"]
    spec["route"]["matchers"] = [f'{matcher["name"]} {matcher["match_type"]} "{matcher["value"]}"']
    assert spec["route"] == plain()["route"]["routes"][0]

    (receiver,) = spec["receivers"]
    found = next(one for one in plain()["receivers"] if one["name"] == receiver["name"])
    # The operator reads the token from a Secret, and mounts none.
    secret = receiver["webhook_configs"][0]["http_config"]["authorization"].pop("credentials")
    file = found["webhook_configs"][0]["http_config"]["authorization"].pop("credentials_file")
    assert file.endswith(f"/{secret['name']}/{secret['key']}")
    assert receiver == found


def test_route_has_the_alerts_for_which_the_dashboard_starts_a_training() -> None:
    route = plain()["route"]["routes"][0]
    (matcher,) = route["matchers"]
    pattern = matcher.partition('"')[2].rstrip('"')
    names = {alert["alert"] for alert in alerts()}
    assert {name for name in names if re.fullmatch(pattern, name)} == set(DRIFT_ALERTS)
    assert ("POST", WEBHOOK) in WEBHOOK_ROUTES


@pytest.mark.prometheus
@pytest.mark.skipif(AMTOOL is None, reason="amtool is missing: run make observe-check")
@pytest.mark.parametrize(
    ("alert", "receivers"),
    [("FraudFeatureDrift", "training,people"), ("FraudScoreDrift", "training,people"),
     ("FraudScorerDown", "people")],
)  # fmt: skip
def test_people_are_notified_also_of_alerts_that_start_a_training(
    alert: str, receivers: str
) -> None:
    assert AMTOOL
    done = subprocess.run(
        [AMTOOL, "config", "routes", "test", f"--config.file={CONFIGURATION}",
         f"alertname={alert}", "version=v1"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == (receivers, 0), done.stderr


def test_shorter_waits_change_nothing_else() -> None:
    """The test of the whole path runs our rules and routes, with shorter waits and nothing else."""
    for config in (groups(), plain()):
        quick = faster(config)
        assert quick != config
        assert without_waits(quick) == without_waits(config)
    (hour,) = {one["for"] for one in faster(alerts()) if one["alert"] in DRIFT_ALERTS}
    assert hour == f"{3_600_000 // FACTOR}ms"


def without_waits(value: Any) -> Any:
    if isinstance(value, list):
        return [without_waits(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: key if key in WAITS else without_waits(one) for key, one in value.items()}
