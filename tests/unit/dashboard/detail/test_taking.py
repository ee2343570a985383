"""*Take the next one* works without JavaScript, and keeps the filters of the list."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from dashboard.web.texts import split_name
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


@pytest.fixture
def topic() -> MemoryTopic:
    """Four flagged transactions. Those with an even id have another e-mail domain."""
    topic = MemoryTopic(1)
    for i in range(4):
        email = ("even & co.example", "odd.example")[i % 2]
        context = make_context(TransactionAmt=1000.0 - i, P_emaildomain=email)
        source = {"topic": "transactions", "partition": 0, "offset": i}
        topic.append(encode_score(make_score(0.9, context=context, source=source)))
    return topic


@pytest.fixture
def client(topic: MemoryTopic, tmp_path: Path) -> Iterator[TestClient]:
    app = make_app(tmp_path, topic)
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 4)
        yield client


def submit(client: TestClient, page: Response, form: str, **button: str) -> Response:
    """Press a button of a form of a page, as a browser without JavaScript does."""
    found = re.search(rf"<form (?=[^>]*{form})[^>]*>(.*?)</form>", page.text, re.DOTALL)
    assert found, f"no form {form}"
    action = re.search(r'action="([^"]*)"', found[0])
    assert action
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', found[1])
    body = {name: html.unescape(value) for name, value in hidden}
    return client.post(html.unescape(action[1]), data=body | button)


def test_transactions_are_taken_and_decided_one_after_another_with_the_filter_of_the_list(
    client: TestClient,
) -> None:
    page = client.get("/?email=even+%26+co.example&sort=newest")
    for path in ("/t/0-0", "/t/0-2"):
        page = submit(client, page, 'action="/next"')
        assert str(page.url) == f"{LOCAL}{path}?email=even+%26+co.example"
        assert "Held by you" in page.text
        assert re.search(r'<button form="onward"[^>]* hidden>', page.text)
        page = submit(client, page, 'class="decide"', label="FRAUD")
        assert "Fraud, decided by you" in page.text
        assert re.search(r'<button form="onward"[^>]*primary">', page.text)
        assert '<a href="/?email=even+%26+co.example">' in page.text
    page = submit(client, page, 'id="onward"')
    assert str(page.url) == f"{LOCAL}/?email=even+%26+co.example"
    assert "Nothing open" in page.text
    page = submit(client, client.get("/"), 'action="/next"')
    assert str(page.url) == f"{LOCAL}/t/0-1"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"min_score": "high"}, "selection.min_score"),
        ({"colour": "red"}, "unknown filter"),
        ({f"a{i}": "1" for i in range(41)}, "at most 40 fields"),
    ],
)
def test_wrong_filter_is_named_and_nothing_is_taken(
    client: TestClient, body: dict[str, str], said: str
) -> None:
    answer = client.post("/next", data=body, headers={"accept": "text/html"})
    assert answer.status_code == 422
    assert said in answer.text
    assert client.get("/api/v1/work").json()["open"] == 4


def test_another_site_and_a_viewer_take_nothing(topic: MemoryTopic, tmp_path: Path) -> None:
    token, line = make_token("vic", "viewer")
    tokens = tmp_path / "tokens"
    tokens.write_text(line)
    app = make_app(tmp_path, topic, dashboard_auth="token", dashboard_tokens_file=tokens)
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 4)
        client.post("/login", data={"token": token, "next": "/"})
        assert client.post("/next").status_code == 403
        assert client.post("/next", headers={"origin": "https://evil.example"}).status_code == 403
        assert "/next" not in client.get("/").text + client.get("/t/0-0").text
        assert client.get("/api/v1/work").json()["open"] == 4


def test_name_at_the_end_of_a_text_is_split_off() -> None:
    assert split_name("indicator (V258)") == ("indicator", " (V258)")
    assert split_name("a (b) c (d)") == ("a (b) c", " (d)")
    assert split_name("a (b) c") == ("a (b) c", "")
    assert split_name("card1_count") == ("card1_count", "")
    assert split_name("") == ("", "")
