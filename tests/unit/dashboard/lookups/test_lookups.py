"""Related transactions, input records, totals over time, and pages with cases, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from dashboard.feed.records import InputRecord
from schemas.records import encode_record
from stream_scorer.errors import RetryableError
from tests.support.dashboard_kit import (
    MemoryTopic,
    encode_score,
    make_app,
    make_context,
    make_score,
    make_transaction,
)
from tests.support.desk.desk_kit import MemoryLog
from tests.support.listing.memory_input import MemoryInput
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
HOUR = 3_600_000
START = 1_795_000_000_000 - 1_795_000_000_000 % 60_000
COUNT = 24


def record(number: int) -> InputRecord:
    row = make_transaction(number, 10.0 + number, DeviceInfo="<b>")
    value = orjson.dumps(row) if number % 2 else encode_record("transaction", row)
    return InputRecord(START + number, b"9500", value, [("traceparent", b"00-1"), ("n", None)])


@pytest.fixture(scope="module")
def inputs() -> MemoryInput:
    return MemoryInput([[record(i) for i in range(COUNT)]])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, inputs: MemoryInput) -> Iterator[TestClient]:
    """One flagged transaction an hour, of two cards, and one that is not flagged beside each."""
    topic = MemoryTopic(1)
    for i in range(COUNT):
        context = make_context(
            card1=float(10 + i % 2), P_emaildomain=None if i == 1 else "a/b c", TransactionAmt=100.0
        )
        source = {"topic": "transactions", "partition": 0, "offset": i}
        at = {"scored_at": START + i * HOUR, "source": source}
        topic.append(encode_score(make_score(0.5 if i % 3 else 0.9, context=context, **at)))
        topic.append(encode_score(make_score(0.1, scored_at=START + i * HOUR + 1000)))
    app = make_app(tmp_path_factory.mktemp("lookups"), topic, input_topic=inputs)
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: client.get("/api/v1/meta").json()["counts"]["scored"] == 2 * COUNT)
        yield client


def get(client: TestClient, path: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_related_are_those_of_the_same_card_within_the_window(client: TestClient) -> None:
    found = get(client, "/flags/0-10/related?by=card1&window=4h")
    assert [item["id"] for item in found["items"]] == ["0-14", "0-12", "0-10", "0-8", "0-6"]
    assert (found["by"], found["value"], found["counted"]) == (
        "card1",
        10.0,
        "flagged transactions",
    )
    assert found["summary"] == {
        "flagged": 5,
        "blocked": 2,
        "amount": 500.0,
        "expected_loss": pytest.approx(90 * 2 + 50 * 3),
        "first_at": START + 6 * HOUR,
        "last_at": START + 14 * HOUR,
    }
    assert found["items"][0]["case"]["status"] == "open"
    assert len(get(client, "/flags/0-10/related?by=email&limit=3")["items"]) == 3
    assert get(client, "/flags/0-1/related?by=email")["items"] == []


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/flags/0-10/related?by=phone", 422, "by"),
        ("/flags/0-10/related?window=0h", 422, "window"),
        ("/flags/0-10/related?window=400d", 422, "window"),
        ("/flags/0-10/related?width=1h", 400, "width"),
        ("/flags/0-99/related", 404, None),
        ("/entities/phone/1", 404, None),
        ("/entities/card/visa", 422, "value"),
        ("/entities/card/1?by=x", 400, "by"),
        ("/stats/timeseries?step=90s", 422, "step"),
        ("/stats/timeseries?step=1m&since=7d", 422, "step"),
        ("/stats/timeseries?since=now", 422, "since"),
        ("/stats/timeseries?since=1h&until=2h", 422, "since"),
        ("/stats/histogram?bins=7", 422, "bins"),
        ("/flags?limit=201", 422, "limit"),
        ("/flags?limit=x", 422, "limit"),
        ("/flags/count?after=x", 400, "after"),
        ("/flags?after=0-99", 410, "after"),
        ("/flags?after=0-1&cursor=a", 400, "after"),
    ],
)
def test_wrong_parameter_is_named(
    client: TestClient, path: str, status: int, field: str | None
) -> None:
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert [fault["field"] for fault in found.get("errors", [])] == [field][: bool(field)]
    assert field is None or status == 410 or field in found["detail"]


def test_entity_has_its_transactions_and_says_what_is_counted(client: TestClient) -> None:
    found = get(client, "/entities/email/a/b%20c?limit=2")
    assert (found["summary"]["flagged"], len(found["items"])) == (COUNT - 1, 2)
    assert found["counted"] == "flagged transactions"
    assert get(client, "/entities/card/11")["summary"]["flagged"] == COUNT // 2
    assert get(client, "/entities/device/none")["summary"]["first_at"] is None


def test_raw_record_is_read_from_the_topic(client: TestClient) -> None:
    for number, encoding in ((4, "avro"), (5, "json")):
        found = get(client, f"/flags/0-{number}/raw")
        assert found["encoding"] == encoding
        assert found["fields"]["TransactionAmt"] == 10.0 + number
        assert found["fields"]["DeviceInfo"] == "<b>"
        assert found["source"] == {"topic": "transactions", "partition": 0, "offset": number}
        assert (found["appended_at"], found["key"]) == (START + number, "9500")
        assert found["headers"] == [["traceparent", "00-1"], ["n", None]]
        assert found["problem"] is None


def test_score_that_names_another_topic_shows_none_of_its_records(
    tmp_path: Path, inputs: MemoryInput
) -> None:
    topic = MemoryTopic(1)
    source = {"topic": "payroll", "partition": 0, "offset": 4}
    topic.append(encode_score(make_score(0.9, source=source)))
    with TestClient(make_app(tmp_path, topic, input_topic=inputs), LOCAL) as client:
        wait_until(lambda: client.get("/api/v1/meta").json()["counts"]["flagged"] == 1)
        assert get(client, "/flags/payroll:0-4")["source"] == source
        answer = client.get("/api/v1/flags/payroll:0-4/raw")
        assert (answer.status_code, answer.json()["type"]) == (403, "other-topic")
        assert "fields" not in answer.json()


def test_record_that_is_gone_or_broken_or_not_to_be_read_says_so(
    client: TestClient, inputs: MemoryInput
) -> None:
    inputs.deleted = 3
    answer = client.get("/api/v1/flags/0-2/raw")
    assert (answer.status_code, answer.json()["type"]) == (410, "record-gone")
    assert "retention time has passed" in answer.json()["detail"]
    inputs.deleted = 0
    kept = inputs.logs[0][7]
    deep = b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}"
    for value in (b"{broken", b"\xff\x00", None, deep):
        inputs.logs[0][7] = InputRecord(1, b"\xff", value)
        found = get(client, "/flags/0-7/raw")
        assert found["fields"] is None
        assert found["problem"].startswith("the record cannot be decoded: ")
        assert found["key"] == "\\xff"
    inputs.logs[0][7] = kept
    inputs.problem = RetryableError("kafka: broker-3.internal:9092 timed out")
    answer = client.get("/api/v1/flags/0-2/raw")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "broker-3" not in answer.text
    inputs.problem = None


def test_pages_do_not_wait_for_records_that_wait_for_kafka(
    client: TestClient, inputs: MemoryInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = threading.Semaphore(0), threading.Event()

    def read(*_: object) -> InputRecord:
        begun.release()
        assert answered.wait(60)
        return record(1)

    monkeypatch.setattr(inputs, "read", read)
    with ThreadPoolExecutor(50) as pool:  # more than the threads that requests share
        waiting = [pool.submit(client.get, "/api/v1/flags/0-1/raw") for _ in range(50)]
        assert begun.acquire(timeout=60)
        assert get(client, "/flags?limit=1")["items"]
        answered.set()
        assert {one.result().status_code for one in waiting} == {200}


def test_timeseries_has_every_step_also_without_scores(client: TestClient) -> None:
    until = START + 3 * HOUR
    found = get(client, f"/stats/timeseries?step=30m&since={START}&until={until}")
    counts = [(item["scored"], item["flagged"]) for item in found["items"]]
    first = START - START % (HOUR // 2)
    assert [item["start"] for item in found["items"]] == [
        first + i * HOUR // 2 for i in range(len(counts))
    ]
    assert counts[::2][:3] == [(2, 1)] * 3
    assert set(counts[1::2]) == {(0, 0)}


def test_histogram_is_of_one_version_and_exact_at_its_thresholds(client: TestClient) -> None:
    found = get(client, f"/stats/histogram?since={START}&until={START + 30 * HOUR}&bins=10")
    assert found["model_version"] == "v7"
    assert found["bins"] == [0, COUNT, 0, 0, 0, COUNT * 2 // 3, 0, 0, 0, COUNT // 3]
    assert found["totals"] == [
        {"review_threshold": 0.4, "block_threshold": 0.8, "scored": 2 * COUNT, "flagged": COUNT,
         "blocked": COUNT // 3}
    ]  # fmt: skip
    assert [version["model_version"] for version in found["versions"]] == ["v7"]
    assert sum(get(client, "/stats/histogram?model=v9")["bins"]) == 0


def test_list_continues_after_any_row_and_counts_a_gap(client: TestClient) -> None:
    ids = [f"0-{i}" for i in range(COUNT - 1, -1, -1)]
    page = get(client, "/flags?after=0-9&limit=3")
    assert [item["id"] for item in page["items"]] == ids[ids.index("0-9") + 1 :][:3]
    assert get(client, "/flags/count?after=0-20&before=0-9")["count"] == 10
    assert get(client, "/flags/count?sort=oldest&after=0-9&before=0-20")["count"] == 10
    assert get(client, "/flags/count?min_score=0.8")["count"] == COUNT // 3
    assert get(client, "/flags?limit=200")["total"] == COUNT
    assert page["total"] is None


def test_orders_have_cursors_of_their_own(client: TestClient) -> None:
    by_loss = get(client, "/flags?sort=expected_loss&limit=2")
    losses = [item["expected_loss"] for item in get(client, "/flags?sort=expected_loss")["items"]]
    assert losses == sorted(losses, reverse=True)
    assert get(client, "/flags?sort=oldest&limit=1")["items"][0]["id"] == "0-0"
    cursor = by_loss["next_cursor"]
    assert client.get(f"/api/v1/flags?sort=expected_loss&cursor={cursor}").status_code == 200
    assert client.get(f"/api/v1/flags?cursor={cursor}").status_code == 400


def test_page_has_an_etag_that_changes_with_a_case(client: TestClient) -> None:
    first = client.get("/api/v1/flags?limit=3")
    again = client.get("/api/v1/flags?limit=3", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.post("/api/v1/flags/0-23/claim").status_code in (200, 202)
    changed = client.get("/api/v1/flags?limit=3", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.json()["items"][0]["case"]["status"] == "claimed"
    assert client.get("/api/v1/flags/0-23").headers["etag"] != '"0"'
    assert client.request("DELETE", "/api/v1/flags/0-23/claim").status_code == 200


def selected(client: TestClient, query: str) -> list[str]:
    return [item["id"] for item in get(client, f"/flags?limit=200&{query}")["items"]]


def test_status_selects_by_the_case(client: TestClient) -> None:
    every = set(selected(client, ""))
    assert client.post("/api/v1/flags/0-3/claim").status_code == 200
    snoozed = client.post("/api/v1/flags/0-4/snooze", json={"hours": 2})
    assert snoozed.status_code == 200
    decided = client.post("/api/v1/flags/0-5/decision", json={"label": "FRAUD"})
    assert decided.status_code == 201
    assert selected(client, "status=claimed") == selected(client, "status=mine") == ["0-3"]
    assert selected(client, "status=snoozed") == ["0-4"]
    assert selected(client, "status=decided") == ["0-5"]
    for sort in ("newest", "oldest", "expected_loss"):
        found = selected(client, f"status=open&sort={sort}")
        assert set(found) == every - {"0-3", "0-4", "0-5"}
        assert get(client, f"/flags/count?status=open&sort={sort}")["count"] == len(found)
    assert selected(client, "status=decided&min_score=0.8") == []
    assert client.request("DELETE", "/api/v1/flags/0-5/decision").status_code == 201
    assert client.request("DELETE", "/api/v1/flags/0-3/claim").status_code == 200
    assert client.post("/api/v1/flags/0-4/snooze", json={"hours": 0}).status_code == 200
    assert set(selected(client, "status=open")) == every
    assert selected(client, "status=decided") == []


def test_decision_that_waits_in_the_outbox_is_in_no_list_of_open_cases(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    topic.append(encode_score(make_score(0.9, source={"topic": "transactions", "partition": 0,
                                                      "offset": 1})))  # fmt: skip
    desk_log = MemoryLog()
    app = make_app(tmp_path, topic, desk_log=desk_log)
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: selected(client, "status=open") == ["0-1"])
        desk_log.is_down = True
        decided = client.post("/api/v1/flags/0-1/decision", json={"label": "FRAUD"})
        assert decided.status_code == 202
        assert selected(client, "status=open") == []
