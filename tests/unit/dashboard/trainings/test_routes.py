"""Trainings over HTTP: who may start one, refusals, Alertmanager, the page, audit and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dashboard.cases.case import DeskUnavailable
from dashboard.cases.desk import Desk
from dashboard.cases.log import Channel
from dashboard.trainings.training import State, TrainingsUnavailable
from dashboard.trainings.trainings import Trainings
from dashboard.web.tokens import ROLES, WEBHOOK, WEBHOOK_ROUTES, make_token
from stream_scorer.errors import SettingsError
from stream_scorer.model.store.memory_store import MemoryStore
from tests.support.dashboard_kit import Clock, make_app
from tests.support.factories import publish_only
from tests.support.trainings.memory_runner import MemoryRunner

API = "/api/v1/trainings"
ALERTS = f"{API}/alertmanager"


class Board:
    """A dashboard whose proxy names the role, with a webhook token."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.runner, self.clock, self.store = MemoryRunner(), Clock(), MemoryStore()
        self.token, line = make_token("alertmanager", WEBHOOK)
        path = folder / "webhook-tokens"
        path.write_text(f"{line}\n")
        proxy = {
            "dashboard_auth": "proxy",
            "dashboard_proxy_addresses": "10.1.0.0/16",
            "dashboard_proxy_role_header": "X-Role",
        }
        self.app = make_app(
            folder,
            store=self.store,
            trainings=Trainings(self.runner, 24, self.clock),
            training_webhook_token_file=path,
            **(settings or proxy),
        )
        self.client = TestClient(
            self.app, "http://board.example", client=("10.1.2.3", 5000), follow_redirects=False
        )

    def get(self, path: str = API, role: str = "viewer") -> Any:
        return self.client.get(path, headers={"x-forwarded-user": "ana", "x-role": role})

    def post(self, body: Any, role: str = "ops", path: str = API, **headers: str) -> Any:
        named = {"x-forwarded-user": "ana", "x-role": role, **headers}
        return self.client.post(path, json=body, headers=named)

    def send(self, role: str = "ops", **form: str) -> Any:
        headers = {"x-forwarded-user": "ana", "x-role": role}
        return self.client.post("/model", data={"action": "train", **form}, headers=headers)

    def call(self, body: Any, path: str = ALERTS, token: str | None = None) -> Any:
        headers = {"authorization": f"Bearer {token or self.token}"}
        return self.client.post(path, json=body, headers=headers)

    def events(self) -> list[dict[str, Any]]:
        outbox = self.app.state.parts.desk._context.outbox
        return [entry.as_event().as_body() for entry in outbox.oldest([Channel.AUDIT], 0, 100)]


def notification(*alerts: tuple[str, str], status: str = "firing") -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "trainings",
        "alerts": [
            {"status": how, "labels": {"alertname": name}, "annotations": {"summary": "<C13>\x1b"}}
            for name, how in alerts
        ],
    }


@pytest.mark.parametrize("role", ROLES)
def test_only_lead_and_ops_start_a_training(tmp_path: Path, role: str) -> None:
    board = Board(tmp_path)
    answer = board.post({"reason": "why"}, role)
    assert answer.status_code == (202 if role in ("lead", "ops") else 403)
    assert len(board.runner.trainings) == (role in ("lead", "ops"))


@pytest.mark.parametrize(
    ("ended", "detail"), [(State.FAILED, "exit code 1"), (State.SUCCEEDED, "")]
)
def test_started_training_is_shown_with_its_result_and_recorded(
    tmp_path: Path, ended: State, detail: str
) -> None:
    board = Board(tmp_path)
    started = board.post({"reason": "  a new\r\npattern <i>\u202e "}, "ops")
    body = started.json()
    assert started.headers["location"] == f"{API}/{body['id']}"
    assert (body["state"], body["trigger"], body["by"]) == ("running", "person", "ana")
    assert body["reason"] == "a new pattern <i>\\u202e"
    (event,) = board.events()
    assert (event["kind"], event["by"], event["role"]) == ("training", "ana", "ops")
    assert event["details"] == {"training": body["id"], "trigger": "person",
                                "reason": body["reason"], "where": "memory"}  # fmt: skip
    facts = {"requested": {"id": body["id"]}, "gate": {"passed": False, "refusals": ["worse"]}}
    publish_only(board.store, facts)
    board.runner.end(ended, detail)
    board.runner.logs[body["id"]] = "\x1b[31mfit <b>\nend"
    assert board.get(f"{API}/{body['id']}").json()["log"] is None  # logs name hosts and paths
    found = board.get(f"{API}/{body['id']}", "lead").json()
    # The store knows what the exit code of this training does not say.
    assert (found["state"], found["detail"]) == ("refused", "the gate refused v1: worse")
    page = board.get("/model").text
    assert "✕ Refused" in page
    assert "the gate refused v1: worse" in page
    assert found["log"].endswith("fit <b>\nend")
    assert found["result"] == {"version": "v1", "is_promoted": False, "passed": False,
                               "refusals": ["worse"]}  # fmt: skip
    assert board.get().json()["trainings"][0]["result"]["version"] == "v1"
    assert board.get(f"{API}/none").status_code == 404
    metrics = board.client.get("/metrics").text
    assert 'fraud_dashboard_trainings_ended_total{state="refused"} 1.0' in metrics
    assert 'fraud_dashboard_trainings_ended_total{state="succeeded"} 0.0' in metrics
    assert board.get(f"{API}?limit=1").status_code == 400


def test_repeated_key_starts_one_training(tmp_path: Path) -> None:
    board = Board(tmp_path)
    key = {"Idempotency-Key": "one"}
    first, again = (board.post({"reason": "why"}, **key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 200)
    assert (first.json()["id"], again.json()["is_new"]) == (again.json()["id"], False)
    assert len(board.events()) == 1
    assert board.post({"reason": "why"}, **{"Idempotency-Key": "a b"}).status_code == 400


def test_running_one_and_the_cooldown_are_named(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.post({"reason": "C13", "trigger": "drift"})
    busy = board.post({"reason": "why"})
    assert (busy.status_code, busy.json()["type"]) == (409, "training-running")
    assert busy.json()["running"]["reason"] == "C13"
    board.runner.end(State.FAILED)
    early = board.post({"reason": "why", "trigger": "quality"})
    assert (early.status_code, early.json()["type"]) == (429, "training-cooldown")
    assert early.json()["next_at"] == (1000 + 24 * 3600) * 1000
    assert int(early.headers["retry-after"]) >= 1
    assert board.post({"reason": "why"}).status_code == 202


def test_faulty_body_is_named_and_starts_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    faulty: list[tuple[Any, int, str]] = [
        ({}, 422, "reason: this field is required"),
        ({"reason": "  "}, 422, "reason"),
        ({"reason": "x" * 501}, 422, "reason"),
        ({"reason": 7}, 422, "reason"),
        ({"reason": "x", "trigger": "schedule"}, 422, "trigger"),
        ({"reason": "x", "command": "rm"}, 422, "command: unknown field"),
        ([1], 422, "must be a JSON object"),
        ({"reason": "x" * 300_000}, 413, "bytes"),
    ]
    for body, status, words in faulty:
        answer = board.post(body)
        assert answer.status_code == status, words
        assert words in answer.json()["detail"]
    assert board.runner.trainings == []


@pytest.mark.parametrize("is_permanent", [True, False])
def test_runner_that_fails_is_explained_and_the_model_page_stays(
    tmp_path: Path, is_permanent: bool
) -> None:
    board = Board(tmp_path)
    board.runner.problem = TrainingsUnavailable("Jobs are <forbidden>", is_permanent=is_permanent)
    for answer in (board.post({"reason": "why"}), board.get(), board.get(f"{API}/x")):
        assert (answer.status_code, answer.json()["detail"]) == (503, "Jobs are <forbidden>")
        assert ("retry-after" in answer.headers) is not is_permanent
    assert board.call(notification(("FraudFeatureDrift", "firing"))).status_code == 503
    page = board.get("/model")
    assert page.status_code == 200
    assert "Jobs are &lt;forbidden&gt;." in page.text
    assert board.events() == []


def test_training_that_the_full_disk_does_not_record_says_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path)

    def full(*_: object) -> None:
        raise DeskUnavailable("the outbox cannot be written: disk full")

    monkeypatch.setattr(Desk, "record", full)
    answer = board.post({"reason": "why"})
    assert (answer.status_code, answer.json()["type"]) == (503, "not-in-audit-log")
    assert "training-1 is started" in answer.json()["detail"]
    assert len(board.runner.trainings) == 1


def test_alert_of_drift_starts_one_training_within_the_cooldown(tmp_path: Path) -> None:
    board = Board(tmp_path)
    fires = notification(("FraudFeatureDrift", "firing"), ("FraudScoreDrift", "resolved"))
    first = board.call(fires)
    assert (first.status_code, first.json()["started"]) == (200, True)
    (made,) = board.runner.trainings
    assert (made.reason, made.by) == ("FraudFeatureDrift: <C13>\\x1b", "alertmanager")
    assert board.events()[0]["role"] == WEBHOOK
    repeated = board.call(fires).json()
    assert (repeated["started"], "has been running" in repeated["reason"]) == (False, True)
    board.runner.end()
    cooling = board.call(fires)
    assert (cooling.status_code, cooling.json()["started"]) == (200, False)
    assert "TRAINING_COOLDOWN_HOURS=24" in cooling.json()["reason"]
    assert len(board.runner.trainings) == 1


def test_resolved_and_other_alerts_start_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    nothing = {"started": False, "training": None, "reason": "no alert of drift is firing"}
    for body in (
        notification(("FraudFeatureDrift", "resolved"), status="resolved"),
        notification(("ScorerDown", "firing")),
        notification(),
    ):
        assert board.call(body).json() == nothing
    assert board.runner.trainings == []


def test_other_webhooks_are_refused(tmp_path: Path) -> None:
    board = Board(tmp_path)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"version": "3"}, "version"),
        ({"alerts": [{"status": "pending"}]}, "alerts.0.status"),
        ({"alerts": [{"status": "firing", "labels": {"alertname": 3}}]}, "alerts.0.labels"),
        ({"alerts": "none"}, "alerts"),
    ]
    for change, field in changes:
        answer = board.call(notification(("FraudFeatureDrift", "firing")) | change)
        assert answer.status_code == 422, field
        assert field in answer.json()["detail"]


def test_webhook_token_requests_for_programs_only(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.call({"reason": "x", "trigger": "person"}, API).status_code == 403
    assert board.call({"reason": "x"}, API, token="wrong").status_code == 401
    assert board.call({"reason": "x"}, API).json()["trigger"] == "drift"


@pytest.mark.parametrize("auth", ["token", "proxy"])
def test_webhook_token_is_refused_on_every_other_route(tmp_path: Path, auth: str) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{make_token('ana', 'ops')[1]}\n")
    choices: dict[str, dict[str, Any]] = {
        "token": {"dashboard_tokens_file": tokens, "dashboard_failed_logins_per_minute": 0},
        "proxy": {"dashboard_proxy_addresses": "10.1.0.0/16"},
    }
    board = Board(tmp_path, dashboard_auth=auth, **choices[auth])
    headers = {"authorization": f"Bearer {board.token}"}
    assert board.client.get("/api/v1/flags", headers=headers).status_code == 401
    public = {"/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/login", "/logout"}
    tried = 0
    for path, methods in _routes(board.app):
        for method in methods - {"HEAD", "OPTIONS"}:
            if path in public or (method, path) in WEBHOOK_ROUTES:
                continue
            for variant in (path, f"{path}/"):
                answer = board.client.request(method, variant, headers=headers, json={})
                assert answer.status_code == 401, (method, variant)
                tried += 1
    assert tried > 80
    assert board.runner.trainings == []


def _routes(app: FastAPI) -> list[tuple[str, set[str]]]:
    """Path and methods of every route, the hidden ones of pages and forms too."""
    routers = [getattr(route, "original_router", None) for route in app.routes]
    routes = [route for router in routers if router is not None for route in router.routes]
    return [(route.path, route.methods) for route in routes]


@pytest.mark.parametrize("content", ["ana:ops:" + "0" * 64, "alertmanager:webhook:abc", "?"])
def test_token_file_of_webhooks_holds_nothing_else(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(SettingsError, match="with the role webhook"):
        make_app(tmp_path, training_webhook_token_file=path)
    with pytest.raises(SettingsError, match="TRAINING_WEBHOOK_TOKEN_FILE"):
        make_app(tmp_path, training_webhook_token_file=tmp_path / "none")
    path.write_text(make_token("alertmanager", WEBHOOK)[1])
    with pytest.raises(SettingsError, match="name:role:sha256"):
        make_app(tmp_path, dashboard_auth="token", dashboard_tokens_file=path)


def test_page_has_the_form_for_those_who_may_and_escapes_everything(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert 'value="train"' not in board.get("/model", "analyst").text
    assert 'value="train"' in board.get("/model", "ops").text
    refused = board.send("analyst", reason="why")
    assert (refused.status_code, board.runner.trainings) == (403, [])
    empty = board.send(reason=" ")
    assert (empty.status_code, "the reason is missing" in empty.text.lower()) == (422, True)
    sent = board.send(reason="<script>alert(1)</script>", key="one")
    assert (sent.status_code, sent.headers["location"]) == (303, "/model#trainings")
    assert board.send(reason="again", key="one").status_code == 303  # the same form, sent twice
    assert len(board.runner.trainings) == 1
    board.runner.logs["training-1"] = "<b>log</b>"
    assert "&lt;b&gt;log" not in board.get("/model", "viewer").text
    page = board.get("/model", "ops").text
    assert "<script>alert(1)" not in page
    assert "&lt;b&gt;log&lt;/b&gt;" in page
    assert 'value="train"' not in page  # one runs
    busy = board.send(reason="more", key="two")
    assert (busy.status_code, "one runs at a time" in busy.text) == (409, True)


@pytest.mark.parametrize("role", ROLES)
def test_only_ops_cancel_a_training_and_it_is_recorded(tmp_path: Path, role: str) -> None:
    board = Board(tmp_path)
    one = board.post({"reason": "why <b>"}).json()["id"]
    answer = board.post(None, role, f"{API}/{one}/cancel")
    form = {"action": "cancel", "training": one}
    if role != "ops":
        assert (answer.status_code, board.runner.trainings[0].is_running) == (403, True)
        assert board.send(role, **form).status_code == 403
        assert 'value="cancel"' not in board.get("/model", role).text
        return
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["detail"] == "cancelled by ana"
    assert board.post(None, role, f"{API}/{one}/cancel").status_code == 200  # idempotent
    started, cancelled = board.events()
    assert (cancelled["kind"], cancelled["by"]) == ("training-cancelled", "ana")
    assert cancelled["details"] == {"training": one, "reason": "why <b>", "where": "memory"}
    assert started["details"]["training"] == one
    two = board.post({"reason": "again"}).json()["id"]
    page = board.get("/model", role).text
    assert f'name="training" value="{two}"' in page
    sent = board.send(role, **form | {"training": two})
    assert (sent.status_code, sent.headers["location"]) == (303, "/model#trainings")
    assert "Cancelled" in board.get("/model", role).text
    assert 'fraud_dashboard_trainings_ended_total{state="cancelled"} 2.0' in (
        board.client.get("/metrics").text
    )


def test_what_cannot_be_cancelled_says_why(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.post(None, path=f"{API}/none/cancel").status_code == 404
    one = board.post({"reason": "why"}).json()["id"]
    answer = board.call({}, f"{API}/{one}/cancel")
    assert answer.status_code == 401  # a webhook token
    board.runner.end(State.REFUSED)
    answer = board.post(None, path=f"{API}/{one}/cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "training-not-cancellable")
    assert answer.json()["training"]["state"] == "refused"
    sent = board.send(action="cancel", training=one)
    assert (sent.status_code, "it has ended, and is refused" in sent.text) == (409, True)


def test_page_of_another_site_cannot_start_a_training(tmp_path: Path) -> None:
    board = Board(tmp_path)
    headers = {"x-forwarded-user": "ana", "x-role": "ops", "sec-fetch-site": "cross-site"}
    for path, body in (
        ("/model", {"action": "train", "reason": "x"}),
        (API, {}),
        (f"{API}/one/cancel", {}),
    ):
        assert board.client.post(path, data=body, headers=headers).status_code == 403
    assert board.runner.trainings == []


def test_metrics_count_starts_and_refusals(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.post({"reason": "why"})
    board.post({"reason": "why"})
    text = board.client.get("/metrics").text
    assert 'fraud_dashboard_trainings_started_total{trigger="person"} 1.0' in text
    assert 'fraud_dashboard_trainings_refused_total{reason="running"} 1.0' in text
    assert 'fraud_dashboard_trainings_started_total{trigger="drift"} 0.0' in text
