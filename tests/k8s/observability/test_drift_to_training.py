"""From drift to a training: our rules in a real Prometheus, our routes in a real Alertmanager.

A dashboard of this process receives the webhook and starts a real training. Two versions serve: one
whose transactions have changed, and one for which it is weekend.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dashboard.trainings.process_runner import ProcessRunner
from dashboard.trainings.training import State, Trigger
from dashboard.trainings.trainings import Trainings
from dashboard.web.tokens import WEBHOOK, make_token
from stream_scorer.model.store.file_store import FileStore
from tests.k8s.support.alert_path import AlertPath, alert_path
from tests.k8s.support.drift_alerts import drifted, usual
from tests.k8s.support.drift_history import WEEKEND, Pod
from tests.k8s.support.observed import find_tool
from tests.support.dashboard_kit import make_app, make_settings, serve
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        None in map(find_tool, ("prometheus", "promtool", "alertmanager")),
        reason="prometheus or alertmanager is missing: run make observe-check",
    ),
]

CHANGED, CALM = "v7", "v8"
TRAIN = "fraud-trainer train --synthetic 2500 --trees 10 --folds 1 --test-share 0.4 --no-promote"


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, and what the trainings publish."""

    alerts: AlertPath
    trainings: Trainings
    store: FileStore


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("drift")
    token, line = make_token("alertmanager", WEBHOOK)
    (folder / "webhook-tokens").write_text(f"{line}\n")
    store = FileStore(folder / "store")
    environment = {**os.environ, "MODEL_STORE_URI": (folder / "store").as_uri()}
    cooldown = make_settings(folder).training_cooldown_hours
    trainings = Trainings(ProcessRunner(folder / "trainings", TRAIN, environment), cooldown)
    app = make_app(
        folder,
        store=store,
        trainings=trainings,
        training_webhook_token_file=folder / "webhook-tokens",
    )
    pods = (Pod("p0", CHANGED, drifted), Pod("p1", CALM, usual, WEEKEND))
    with serve(app) as address, alert_path(folder, pods, address, token) as alerts:
        yield Running(alerts, trainings, store)


def test_drift_starts_one_training_and_its_repetition_is_no_failure(running: Running) -> None:
    counts = running.trainings.counts
    # Alertmanager repeats the notification while the alert fires: during the training and after it.
    wait_until(lambda: counts.refused["cooldown"], 400, what="a refusal after the training")
    (training,) = running.trainings.list()
    assert counts.started == {"drift": 1}
    assert (training.state, training.trigger) == (State.SUCCEEDED, Trigger.DRIFT)
    assert training.by == "alertmanager"
    assert "Drift: " in training.reason
    assert CHANGED in training.reason
    requested = json.loads(running.store.read_metadata("v1"))["requested"]
    assert (requested["id"], requested["reason"]) == (training.id, training.reason)

    webhooks = running.alerts.webhooks()
    assert webhooks["notifications_total"] >= 2
    # One request for each notification, so nothing was tried again.
    assert webhooks["notification_requests_total"] <= webhooks["notifications_total"]
    assert webhooks["notification_requests_failed_total"] == 0
    assert webhooks["notifications_failed_total"] == 0


def test_weekend_of_a_version_without_drift_starts_nothing(running: Running) -> None:
    alerts = running.alerts
    wait_until(lambda: "firing" in alerts.states().get(("FraudScoreDrift", CHANGED), set()))
    fired = {"pending", "firing"}
    assert alerts.states() == {
        ("FraudFeatureDrift", CHANGED): fired,
        ("FraudScoreDrift", CHANGED): fired,
    }
    # The same rules were evaluated for this version, and its day alone would have fired.
    assert alerts.highest("fraud_scorer:drift_psi:1d", CALM) > 0.25
    assert 0 < alerts.highest("fraud_scorer:drift_psi:1w", CALM) < 0.1
    assert CALM not in " ".join(one.reason for one in running.trainings.list())
