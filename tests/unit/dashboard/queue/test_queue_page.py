"""The queue page as the server renders it: its address holds all of its state."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.web.problems import Problem
from dashboard.web.queue.address import Address
from dashboard.web.texts import format_sentence
from tests.support.dashboard_kit import (
    MemoryTopic,
    encode_score,
    make_app,
    make_context,
    make_score,
)
from tests.support.waiting import wait_until


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    topic = MemoryTopic(1)
    for i in range(1, 4):
        source = {"topic": "transactions", "partition": 0, "offset": i}
        context = make_context(TransactionAmt=100.0 * i, P_emaildomain=f"mail{i}.example")
        topic.append(encode_score(make_score(0.5 + i / 10, source=source, context=context)))
    app = make_app(tmp_path, topic)
    with TestClient(app, base_url="http://127.0.0.1") as made:
        board = app.state.parts.board
        wait_until(lambda: board.counts.flagged >= 3, what="the rows")
        yield made


def test_minutes_without_a_score_are_zero_and_not_left_out(tmp_path: Path) -> None:
    topic, now = MemoryTopic(1), int(time.time() * 1000)
    for minutes in (10, 0):
        topic.append(encode_score(make_score(0.9, scored_at=now - minutes * 60_000)))
    app = make_app(tmp_path, topic)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 2, what="the rows")
        found = re.search(r"data-series='([^']+)'", client.get("/").text)
    assert found is not None
    points = json.loads(found[1])
    assert len(points) in (11, 12)  # a minute may have begun meanwhile
    assert {later[0] - at[0] for at, later in pairwise(points)} == {60_000}
    assert [rate > 0 for _, rate in points[:11]] == [True, *[False] * 9, True]


def rows(page: str) -> list[str]:
    return re.findall(r'<tr [^>]*data-id="([^"]+)"', page)


def test_links_keep_what_they_do_not_change() -> None:
    address = Address({"q": " gmail ", "sort": "oldest", "columns": "card1", "after": "0-1"})
    assert address.parameters() == {"q": "gmail", "status": "open", "sort": "oldest"}
    assert address.link(after="0-9") == "/?q=gmail&sort=oldest&columns=card1&after=0-9"
    assert address.cleared() == "/?sort=oldest&columns=card1"
    assert [link["link"] for link in address.sort_links()] == [
        "/?q=gmail&columns=card1",
        "/?q=gmail&sort=newest&columns=card1",
        "/?q=gmail&sort=oldest&columns=card1",
    ]
    shown = {str(link["text"]): link for link in address.column_links()}
    assert shown["card1"] == {"text": "card1", "link": "/?q=gmail&sort=oldest", "is_shown": True}
    assert shown["Model"]["link"] == "/?q=gmail&sort=oldest&columns=card1%2Cmodel"


def test_heads_of_columns_lead_to_their_orders() -> None:
    assert (Address({}).by_loss, Address({}).by_time) == ("/", "/?sort=newest")
    assert Address({"sort": "newest", "q": "a"}).by_time == "/?sort=oldest&q=a"
    assert Address({"sort": "oldest"}).by_time == "/?sort=newest"
    hidden = Address({}, hides_losses=True)
    assert (hidden.by_loss, hidden.by_time, hidden.sort) == (None, "/?sort=oldest", "newest")
    assert Address({"sort": "oldest"}, hides_losses=True).by_time == "/"


def test_each_filter_has_a_chip_that_removes_it() -> None:
    address = Address({"min_score": "0.5", "since": "24h", "status": "mine"})
    assert address.chips() == [
        {"text": "Score ≥ 0.5", "without": "/?since=24h&status=mine"},
        {"text": "Status mine", "without": "/?min_score=0.5&since=24h"},
        {"text": "Since last 24 hours", "without": "/?min_score=0.5&status=mine"},
    ]
    assert Address({"status": "open"}).chips() == []
    assert Address({"status": "any"}).parameters() == {"sort": "expected_loss"}


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("sort", "score", "expected_loss, newest, oldest"),
        ("status", "closed", "open, mine, claimed"),
        ("columns", "card1,secret", "TransactionDT, card1"),
    ],
)
def test_wrong_parameter_is_named_with_its_value_and_the_way_out(
    name: str, value: str, way_out: str
) -> None:
    with pytest.raises(Problem, match=name) as caught:
        Address({name: value})
    assert caught.value.errors[0]["field"] == name
    assert way_out in caught.value.detail
    assert value.rpartition(",")[2] in caught.value.detail


def test_page_is_sorted_filtered_and_continued_by_its_address(client: TestClient) -> None:
    assert rows(client.get("/").text) == ["0-3", "0-2", "0-1"]
    assert rows(client.get("/?sort=oldest").text) == ["0-1", "0-2", "0-3"]
    assert rows(client.get("/?after=0-2").text) == ["0-1"]
    assert "No older transactions" in client.get("/?after=0-1").text
    page = client.get("/?email=mail2.example&columns=P_emaildomain").text
    assert rows(page) == ["0-2"]
    assert "2 hidden by this filter" in page
    assert '<td class="c-field">mail2.example</td>' in page
    assert rows(client.get("/?status=decided").text) == []
    gone = client.get("/?after=0-99", headers={"accept": "text/html"})
    assert gone.status_code == 410
    assert "Start again at the top" in gone.text


def test_list_without_open_cases_says_how_many_match_its_filter(client: TestClient) -> None:
    assert client.post("/api/v1/flags/0-2/claim").status_code in (200, 202)
    wait_until(lambda: client.get("/api/v1/work").json()["mine"] == 1, what="the claim")
    page = client.get("/?email=mail2.example").text
    assert "All matching transactions (1) are claimed, snoozed or decided." in page
    assert '<a href="/?email=mail2.example&amp;status=any">Show all of them</a>' in page
    assert "No matching transactions" in client.get("/?email=mail9.example").text


def test_export_has_the_filter_and_the_order_of_the_list(client: TestClient) -> None:
    for path, query in (
        ("/?min_score=0.6", "expected_loss"),
        ("/?min_score=0.6&sort=oldest", "oldest"),
    ):
        links = re.findall(r'href="/api/v1/export\.(\w+)\?([^"]+)"', client.get(path).text)
        assert dict(links).keys() == {"csv", "jsonl"}
        for kind, found in links:
            assert f"sort={query}" in found
            exported = client.get(f"/api/v1/export.{kind}?{found.replace('&amp;', '&')}").text
            ids = re.findall(r"\b0-\d\b", exported)
            assert list(dict.fromkeys(ids)) == rows(client.get(path).text)


def test_row_names_the_place_of_its_records_in_kafka(client: TestClient) -> None:
    page = client.get("/?columns=proof").text
    assert 'title="Input transactions[0]@3\nScore fraud-scores[0]@2"' in page
    assert re.search(r'<td class="c-proof mono"[^>]*>transactions\[0\]@3</td>', page)


def test_open_cases_are_counted_and_the_claimed_one_is_mine(client: TestClient) -> None:
    first = client.get("/api/v1/work").json()
    assert (first["open"], first["mine"]) == (3, 0)
    assert client.post("/api/v1/flags/0-3/claim").status_code in (200, 202)
    wait_until(lambda: client.get("/api/v1/work").json()["mine"] == 1, what="the claim")
    assert client.get("/api/v1/work").json()["open"] == 2
    assert rows(client.get("/").text) == ["0-2", "0-1"]
    assert rows(client.get("/?status=mine").text) == ["0-3"]
    assert client.get("/api/v1/work?x=1").status_code == 400


def test_every_page_says_how_late_rows_appear(client: TestClient) -> None:
    for path in ("/", "/ops", "/audit", "/check", "/t/0-1"):
        assert re.search(r'id="v-delay">\d+(\.\d)? (s|min|h|d)<', client.get(path).text), path


@pytest.mark.parametrize(
    ("text", "expected"),
    [("days since an event", "Days since an event"), ("card1_count", "card1_count"),
     ("days", "Days"), ("V258", "V258"), ("", "")],
)  # fmt: skip
def test_sentences_begin_with_a_capital_and_names_stay(text: str, expected: str) -> None:
    assert format_sentence(text) == expected
