"""The audit page: who may see it, its filters and links, and the event of a promotion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import AuditEntry, Who
from dashboard.web.admin.audit_text import describe
from stream_scorer.model.store.memory_store import MemoryStore
from tests.support.dashboard_kit import make_app
from tests.support.factories import publish_only
from tests.support.waiting import wait_until

ANA = Who("ana", "analyst", "203.0.113.9")
BO = Who("bo<b>", "lead", None)


class Scene:
    """A dashboard with an audit log."""

    def __init__(self, client: TestClient, app: Any) -> None:
        self.client = client
        self.desk = app.state.parts.desk

    def get(self, path: str, role: str = "lead") -> Any:
        headers = {"x-forwarded-user": "ola", "x-role": role, "accept": "text/html"}
        return self.client.get(path, headers=headers)

    def post(self, path: str, body: Any) -> Any:
        headers = {"x-forwarded-user": "ola", "x-role": "lead"}
        return self.client.post(path, json=body, headers=headers)

    def wait_for(self, text: str) -> str:
        """The page, once it has ``text``."""
        return str(
            wait_until(lambda: (t := self.get("/audit").text) and text in t and t, what=text)
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = MemoryStore()
    publish_only(store, {"gate": {"passed": True}})
    app = make_app(
        tmp_path,
        store=store,
        dashboard_auth="proxy",
        dashboard_proxy_addresses="10.1.0.0/16",
        dashboard_proxy_role_header="X-Role",
    )
    with TestClient(app, "http://board.example", client=("10.1.2.3", 5000)) as client:
        yield Scene(client, app)


def test_only_leads_and_people_on_call_see_the_page_and_its_link(scene: Scene) -> None:
    for role, status in (("lead", 200), ("ops", 200), ("analyst", 403), ("viewer", 403)):
        assert scene.get("/audit", role).status_code == status
        assert ('href="/audit"' in scene.get("/model", role).text) is (status == 200)
    assert "this needs the role lead or ops" in scene.get("/audit", "viewer").text.lower()


def test_events_are_listed_filtered_and_linked(scene: Scene) -> None:
    scene.desk.record("export", ANA, {"format": "csv", "rows": 412})
    scene.desk.record("view-saved", BO, {"name": "<i>mine</i>", "is_shared": False})
    page = scene.wait_for("&lt;i&gt;mine")
    page = scene.wait_for("412")
    assert "412" in page
    assert "203.0.113.9" in page
    assert "bo&lt;b&gt;" in page
    assert "&lt;i&gt;mine&lt;/i&gt;" in page
    assert "<b>" not in page.partition("bo")[2][:10]
    only = scene.get("/audit?kind=export&by=ana&since=1h").text
    assert "412" in only
    assert "mine" not in only
    assert 'href="/audit?by=ana&amp;since=1h" title="Remove this filter">Exported' in only
    assert "No matching events" in scene.get("/audit?by=nobody").text
    assert "No matching events" in scene.get("/audit?until=1h").text


def test_wrong_filters_say_what_is_wrong(scene: Scene) -> None:
    for query, status, words in (
        ("since=yesterday", 422, "must be a span before now such as 15m"),
        ("by=" + "x" * 301, 422, "at most 300 characters"),
        ("user=ana", 400, "unknown query parameter"),
        ("cursor=zzz", 400, "not valid for these filters"),
    ):
        answer = scene.get(f"/audit?{query}")
        assert answer.status_code == status
        assert words in answer.text.lower()


def test_older_events_are_on_the_next_page_of_the_same_filters(scene: Scene) -> None:
    for number in range(55):
        scene.desk.record("export", ANA, {"number": f"n{number:03d}"})
    wait_until(lambda: scene.desk.status().events_waiting == 0, what="the events")
    wait_until(lambda: "Older events" in scene.get("/audit?by=ana").text, what="two pages")
    first = scene.get("/audit?by=ana").text
    link = first.partition('<p class="more"><a href="')[2].partition('"')[0].replace("&amp;", "&")
    assert link.startswith("/audit?by=ana&cursor=")
    second = scene.get(link).text
    shown = {f"n{i:03d}": (f"n{i:03d}" in first, f"n{i:03d}" in second) for i in range(55)}
    assert all(a != b for a, b in shown.values()), shown
    assert "No older events" in second


def test_promotion_is_an_event_with_its_reason(scene: Scene) -> None:
    body = {"expected": None, "reason": "the first one", "force": False}
    assert scene.post("/api/v1/models/v1/promote", body).status_code == 200
    page = scene.wait_for("the first one")
    assert "Promoted a model" in page
    assert "v1" in page
    found = scene.get("/api/v1/audit?kind=promotion").json()["items"]
    assert found[0]["by"] == "ola"
    assert found[0]["details"] == {
        "promoted": "v1", "previous": None, "force": False, "reason": "the first one",
    }  # fmt: skip


def test_event_of_a_later_release_is_shown_by_its_name() -> None:
    body = {"kind": "merge", "by": "ana", "flag_id": "late:3-7", "transaction_id": 12,
            "label": "FRAUD", "until": 1_795_000_000_000, "reasons": ["a", "b"],
            "note": "n", "details": [1, {"x": None}]}  # fmt: skip
    row = describe(AuditEntry("0:1", 5, body))
    assert (row["what"], row["link"]) == ("merge", "/t/late%3A3-7")
    assert row["more"] == [
        ("Label", "FRAUD"), ("Until", "2026-11-18 11:06:40 UTC"), ("Reasons", "a, b"),
        ("Note", "n"), ("Details", '[1,{"x":null}]'),
    ]  # fmt: skip


def test_decision_is_told_once_and_without_noise_digits() -> None:
    details = {"after": "UNSURE", "before": "FRAUD", "score": 0.4567852110531897}
    row = describe(
        AuditEntry("0:1", 5, {"kind": "decision", "label": "UNSURE", "details": details})
    )
    assert row["more"] == [("Label", "UNSURE"), ("Before", "FRAUD"), ("Score", "0.456785")]
