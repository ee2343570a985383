"""Other thresholds from the dashboard: for leads, recorded, and never promoted by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import DeskUnavailable
from dashboard.cases.desk import Desk as CasesDesk
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.factories import publish_only
from tests.support.waiting import wait_until

WISH = {"review": 0.31, "block": 0.82, "reason": "too many reviews"}


class Lead:
    """A dashboard with scores of v1, whose proxy names the role of each request."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        publish_only(self.store, {"gate": {"passed": True, "refusals": []}})
        self.topic = MemoryTopic(1)
        self.topic.append(encode_score(make_score(0.95, model_version="v1")))
        self.app = make_app(
            folder,
            self.topic,
            store=self.store,
            dashboard_auth="proxy",
            dashboard_proxy_addresses="10.1.0.0/16",
            dashboard_proxy_role_header="X-Role",
        )
        self.client = TestClient(
            self.app, "http://board.example", client=("10.1.2.3", 5000), follow_redirects=False
        )

    def headers(self, role: str = "lead") -> dict[str, str]:
        return {"x-forwarded-user": "ana", "x-role": role}

    def post(self, body: Any, role: str = "lead", version: str = "v1") -> Any:
        path = f"/api/v1/models/{version}/thresholds"
        return self.client.post(path, json=body, headers=self.headers(role))

    def send(self, role: str = "lead", **form: str) -> Any:
        headers = self.headers(role) | {"accept": "text/html"}
        return self.client.post("/threshold/publish", data=form, headers=headers)


@pytest.fixture
def lead(tmp_path: Path) -> Lead:
    return Lead(tmp_path)


def test_version_is_published_with_its_origin_and_not_promoted(lead: Lead) -> None:
    answer = lead.post(WISH)
    assert answer.status_code == 200
    assert answer.json() == {
        "published": "v2", "origin": "v1", "before": {"review": 0.5, "block": 0.9},
        "thresholds": {"review": 0.31, "block": 0.82}, "estimated": {},
    }  # fmt: skip
    origin = json.loads(lead.store.read_metadata("v2"))["origin"]
    assert (origin["by"], origin["reason"], origin["version"]) == ("ana", "too many reviews", "v1")
    assert lead.store.current() is None


def test_publication_is_in_the_audit_log(lead: Lead) -> None:
    with lead.client:
        assert lead.post({"review": 0.4, "reason": "x"}).status_code == 200

        def events() -> list[Any]:
            found = lead.client.get("/api/v1/audit", headers=lead.headers()).json()
            return [event for event in found["items"] if event["kind"] == "thresholds"]

        wait_until(lambda: bool(events()))
        (event,) = events()
        assert (event["by"], event["details"]["published"]) == ("ana", "v2")
        assert event["details"] == {"published": "v2", "origin": "v1", "review": 0.4,
                                    "block": 0.9, "reason": "x"}  # fmt: skip
        page = lead.client.get("/audit", headers=lead.headers())
        assert "Published other thresholds" in page.text


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (WISH | {"review": 0.9}, 422, "is above the block threshold"),
        (WISH | {"review": 0}, 422, "must be above 0"),
        ({"reason": "same"}, 422, "v1 has these thresholds already"),
        ({"review": 0.3}, 422, "reason: this field is required"),
        (WISH | {"reason": "  "}, 422, "reason"),
        (WISH | {"review": "low"}, 422, "review"),
        (WISH | {"promote": True}, 422, "promote: unknown field"),
        (WISH | {"review": "low"}, 422, "not 'low'"),
        (WISH | {"reason": 10**40}, 422, "not 1e+40"),
        ([], 422, "must be a JSON object"),
    ],
)
def test_what_cannot_be_published_is_refused_with_the_reason(
    lead: Lead, body: Any, status: int, reason: str
) -> None:
    answer = lead.post(body)
    assert (answer.status_code, reason in answer.json()["detail"]) == (status, True), answer.text
    assert lead.store.versions() == ["v1"]


def test_only_a_lead_publishes_and_unknown_versions_are_not_found(lead: Lead) -> None:
    for role in ("viewer", "analyst", "ops"):
        assert lead.post(WISH, role).status_code == 403
        assert lead.post([], role).status_code == 403  # whatever the body is
        assert lead.send(role, model="v1", review="0.3", reason="x").status_code == 403
    assert lead.post(WISH, version="v9").status_code == 404
    assert lead.post(WISH, version="latest").status_code == 404
    assert lead.store.versions() == ["v1"]


def test_store_that_cannot_be_written_and_full_disk_say_what_happened(
    lead: Lead, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead.store.script(StoreFault("unavailable", "create models/*"))
    answer = lead.post(WISH)
    assert (answer.status_code, answer.json()["type"]) == (503, "store-refused")
    assert "nothing was published" in answer.json()["detail"]

    def fail(*_: object) -> None:
        raise DeskUnavailable("the outbox cannot be written: disk full")

    monkeypatch.setattr(CasesDesk, "record", fail)
    answer = lead.post(WISH)
    assert (answer.status_code, answer.json()["type"]) == (503, "not-in-audit-log")
    assert answer.json()["detail"].startswith("v2 is published, but the audit log has no event")


def test_form_of_the_page_publishes_and_shows_the_version_to_promote(lead: Lead) -> None:
    with lead.client:
        wait_until(lambda: lead.app.state.parts.board.counts.scored == 1)
        page = lead.client.get("/threshold?threshold=0.6", headers=lead.headers()).text
        assert 'action="/threshold/publish"' in page
        fields = dict(re.findall(r'name="(model|review|block)"[^>]*value="([^"]*)"', page))
        assert (fields["model"], fields["review"]) == ("v1", "0.6")
        viewer = lead.client.get("/threshold", headers=lead.headers("viewer")).text
        assert 'action="/threshold/publish"' not in viewer
        answer = lead.send(**fields, reason="<b>fewer</b>")
        assert answer.status_code == 303
        target = answer.headers["location"]
        assert urlsplit(target).query == "version=v2"
        shown = lead.client.get(target, headers=lead.headers()).text
        assert "Promote v2" in shown
        assert "<b>fewer</b>" not in shown
        refused = lead.send(**(fields | {"review": "0.99"}), reason="x")
        assert refused.status_code == 422
        assert "is above the block threshold" in refused.text
