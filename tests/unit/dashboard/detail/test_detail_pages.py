"""The page of a transaction works without JavaScript, for each role, and escapes what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import Case, Decision, Who
from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import (
    MemoryTopic,
    encode_score,
    make_app,
    make_context,
    make_score,
)
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def topic() -> MemoryTopic:
    """Twelve flagged transactions of one card; their ids are 0-0, 0-1, …"""
    topic = MemoryTopic(1)
    for i in range(12):
        context = make_context(card1=9500.0, DeviceInfo=f"{EVIL}/x", P_emaildomain="a b.example")
        source = {"topic": "transactions", "partition": 0, "offset": i}
        more = {"context": context, "source": source, "event_time": 1_700_000_000_000 + i}
        record = make_score(0.9, transaction_id=i, scored_at=1_700_000_000_038 + i, **more)
        topic.append(encode_score(record))
    return topic


@pytest.fixture(scope="module")
def client(topic: MemoryTopic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = make_app(tmp_path_factory.mktemp("detail"), topic)
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 12)
        yield client


def case_of(client: TestClient, flag_id: str) -> Case:
    desk = client.app.state.parts.desk  # type: ignore[attr-defined]
    found: Case = desk.case_of([flag_id])[flag_id]
    return found


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the page's form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def test_page_and_panel_have_the_same_details_and_escape_them(client: TestClient) -> None:
    page = client.get("/t/0-7").text
    panel = client.get("/t/0-7/panel").text
    for text in ("Transaction 7", "0.9000", "(+0.5000)", "(+0.1000)", "transactions[0]@7",
                 "fraud-scores[0]@7", "38 ms"):  # fmt: skip
        assert text in page, text
        assert text in panel, text
    assert EVIL not in page + panel
    assert "&lt;script&gt;" in panel
    assert "<html" not in panel
    assert client.get("/t/0-99/panel").status_code == 404


def test_related_links_lead_to_the_pages_of_the_entities(client: TestClient) -> None:
    page = client.get("/t/0-7").text
    links = re.findall(r'href="(/entity/[^"]+)"', page)
    assert len(links) == 4
    for link in links:
        assert client.get(link).status_code == 200, link
    assert client.get("/entity/card/9500").text.count("data-item=") == 12


@pytest.mark.parametrize(
    ("path", "status"),
    [("/entity/colour/1", 404), ("/entity/card/x", 422), ("/entity/card/nan", 422),
     ("/entity/card/1e999", 422), ("/entity/device/" + "x" * 301, 422),
     ("/entity/card/12345", 200), ("/entity/device/none", 200)],
)  # fmt: skip
def test_address_of_an_entity_is_checked(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert status != 200 or "Nothing was flagged" in answer.text


def test_form_decides_and_leads_back_and_a_repeated_one_is_the_same_decision(
    client: TestClient,
) -> None:
    form = fields(client.get("/t/0-1").text)
    body = form | {"label": "FRAUD", "reason": "stolen-card", "note": "rang <b>her</b>"}
    for _ in range(2):
        answer = client.post("/t/0-1", data=body, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/t/0-1")
    case = case_of(client, "0-1")
    assert (case.label, case.note, case.reasons) == ("FRAUD", "rang <b>her</b>", ("stolen-card",))
    page = client.get("/t/0-1").text
    assert "Fraud, decided by you" in page
    assert "Recorded at fraud-labels[" in page
    assert "(Stolen card)" in page
    assert page.count("decided by you") == 2  # the state, and one entry of the history
    for path in ("/t/0-8", "/t/0-8/panel?tally=yes"):
        assert 'data-decided="1"' in client.get(path).text
    assert "data-decided" not in client.get("/t/0-8/panel").text
    assert "<b>her</b>" not in page
    withdrawn = client.post("/t/0-1", data=fields(page) | {"withdraw": "yes"})
    assert "Decision withdrawn by you" in withdrawn.text
    assert "data-decided" not in client.get("/t/0-8").text  # none of today's decisions stands
    assert case_of(client, "0-1").label is None


def test_form_claims_releases_and_snoozes(client: TestClient) -> None:
    assert "Held by you" in client.post("/t/0-2", data={"claim": "claim"}).text
    released = client.post("/t/0-2", data={"claim": "release"}).text
    assert "Released by you" in released
    assert "Snoozed by you until" in client.post("/t/0-2", data={"hours": "4"}).text


def test_form_of_an_old_page_is_refused_and_shows_the_case_as_it_is(client: TestClient) -> None:
    form = fields(client.get("/t/0-3").text)
    desk = client.app.state.parts.desk  # type: ignore[attr-defined]
    desk.claim("0-3", Who("ana", "analyst"))
    answer = client.post("/t/0-3", data=form | {"label": "LEGITIMATE"})
    assert answer.status_code in (409, 412)
    assert "Not saved:" in answer.text
    assert "Held by ana" in answer.text
    assert case_of(client, "0-3").label is None
    desk.release("0-3", Who("ana", "analyst"))
    client.post("/t/0-3", data=fields(client.get("/t/0-3").text) | {"label": "FRAUD"})
    old = fields(client.get("/t/0-3").text)
    desk.decide(Decision("0-3", "LEGITIMATE"), Who("ana", "analyst"), "anas")
    refused = client.post("/t/0-3", data=old | {"withdraw": "yes"})
    assert refused.status_code == 412
    assert case_of(client, "0-3").label == "LEGITIMATE"


@pytest.mark.parametrize(
    ("more", "field"),
    [({"label": "GUILTY"}, "label"), ({}, "label"), ({"label": "FRAUD", "key": ""}, "key"),
     ({"label": "FRAUD", "version": "x"}, "version"), ({"hours": "-1"}, "hours"),
     ({"hours": "9999"}, "hours"), ({"label": "FRAUD", "note": "x" * 2001}, "note"),
     ({"label": "FRAUD", "reason": "x" * 65}, "reason")],
)  # fmt: skip
def test_invalid_form_names_the_field(client: TestClient, more: dict[str, str], field: str) -> None:
    answer = client.post("/t/0-4", data={"key": "k", "version": "0"} | more)
    assert answer.status_code == 422
    assert f"Not saved: {field}: " in answer.text
    assert case_of(client, "0-4").version == 0


def test_form_of_another_site_is_rejected(client: TestClient) -> None:
    """The same-origin check of every POST protects the forms."""
    form = fields(client.get("/t/0-5").text) | {"label": "FRAUD"}
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert client.post("/t/0-5", data=form, headers=headers).status_code == 403
    assert case_of(client, "0-5").label is None


def test_form_of_an_unknown_transaction_is_not_found(client: TestClient) -> None:
    assert client.post("/t/0-99", data={"key": "k", "label": "FRAUD"}).status_code == 404


@pytest.mark.parametrize("role", ["viewer", "ops", "analyst", "lead"])
def test_roles_that_may_not_decide_have_no_buttons_and_are_refused(
    tmp_path: Path, topic: MemoryTopic, role: str
) -> None:
    token, line = make_token("ana", role)
    (tmp_path / "tokens").write_text(line)
    settings: dict[str, Any] = {
        "dashboard_auth": "token", "dashboard_tokens_file": tmp_path / "tokens"
    }  # fmt: skip
    app = make_app(tmp_path, topic, **settings)
    with TestClient(app, "http://board.example") as client:
        client.headers["authorization"] = f"Bearer {token}"
        wait_until(lambda: app.state.parts.board.counts.flagged == 12)
        page = client.get("/t/0-6").text
        may_decide = role in ("analyst", "lead")
        assert ('name="label"' in page) is may_decide
        assert (f"Your role ({role}) can read, but not decide." in page) is not may_decide
        assert ('type="checkbox"' in page) is may_decide
        assert ("/audit?flag=0-6" in page) is (role in ("lead", "ops"))
        assert client.get("/audit?flag=0-6").status_code == (
            200 if role in ("lead", "ops") else 403
        )
        form = {"key": "k", "version": "0", "label": "FRAUD"}
        answer = client.post("/t/0-6", data=form, follow_redirects=False)
        assert answer.status_code == (303 if may_decide else 403)
