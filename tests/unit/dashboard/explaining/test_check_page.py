"""The check page without JavaScript: the form, the answer, and every way it can fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from fastapi.testclient import TestClient

from dashboard.web.explaining.form import COLUMNS
from schemas.batch import build_batch
from stream_scorer.model.bundle import Thresholds
from stream_scorer.model.scoring import score
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_score,
    make_transaction,
    tiny_bundle,
)
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(tmp_path, model=StaticModel(tiny_bundle())), LOCAL) as client:
        yield client


def post(client: TestClient, **fields: str) -> tuple[int, str]:
    answer = client.post("/check", data={"from": "fields"} | fields)
    assert answer.headers["content-type"].startswith("text/html")
    return answer.status_code, answer.text


def text_of(page: str) -> str:
    """The words of the answer."""
    answer = page[page.index('id="answer"') :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer)).split())


def test_form_is_scored_like_a_record_of_the_stream(client: TestClient) -> None:
    status, page = post(client, TransactionAmt="990", ProductCD="W", card1="9500", C13="39")
    row = make_transaction(1, 990.0, C13=39.0, TransactionDT=86_400)
    expected = score(build_batch([row]), tiny_bundle()).scores[0]
    words = text_of(page)
    assert status == 200
    assert f"Block {expected:.4f}" in words
    assert "Expected score" in words
    assert "What would have to differ" in words
    assert "TransactionAmt 990 → to" in words
    assert "The amount of the transaction is 990." in words
    assert 'value="990"' in page  # the form keeps what was entered
    metrics = client.get("/metrics").text
    assert "prediction_count_total 1.0" in metrics


def test_approved_transaction_has_no_changes_and_shows_what_lowered_it(client: TestClient) -> None:
    words = text_of(post(client, TransactionAmt="12", explain="shap")[1])
    assert words.count("Approve") == 1
    assert "lowers by" in words
    assert "What would have to differ" not in words


@pytest.mark.parametrize(
    "row",
    [
        '{"TransactionAmt": 990, "C13": 39}',
        '{"transactions": [{"TransactionID": 5, "TransactionAmt": 990, "C13": 39}]}',
        "TransactionAmt,C13\n990,39",
    ],
)
def test_pasted_row_is_explained(client: TestClient, row: str) -> None:
    status, page = post(client, **{"from": "row"}, row=row)
    assert status == 200
    assert "Block" in text_of(page)
    assert "<textarea" in page


def test_list_is_scored_as_a_table(client: TestClient) -> None:
    rows = [make_transaction(i, 5.0 + 400 * i) for i in range(4)]
    words = text_of(post(client, **{"from": "row"}, row=orjson.dumps(rows).decode())[1])
    assert "4 transactions scored with model v1" in words
    assert "Approve" in words
    assert "Block" in words
    assert "amount of the transaction = 1205 +" in words


def test_faults_link_to_their_fields_and_the_form_keeps_its_values(client: TestClient) -> None:
    status, page = post(client, TransactionAmt="12,5", card1="visa", D2="<x>", ProductCD="R")
    assert status == 422
    assert re.findall(r'<a href="#f-(\w+)" data-field', page) == ["TransactionAmt", "card1", "D2"]
    assert re.findall(r'id="f-(\w+)"[^>]*aria-invalid="true"', page) == [
        "TransactionAmt",
        "card1",
        "D2",
    ]
    assert 'value="12,5"' in page
    assert 'value="&lt;x&gt;"' in page
    assert "write it with a point, not a comma" in text_of(page)
    assert re.search(r'<details class="group" open><summary>Days', page)


def test_missing_amount_is_a_fault_of_its_field(client: TestClient) -> None:
    status, page = post(client, TransactionAmt=" ")
    assert status == 422
    assert '<a href="#f-TransactionAmt"' in page
    assert "TransactionAmt is missing" in text_of(page)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"TransactionAmt=1e308", 200, "Approve|Review|Block"),
        (b"TransactionAmt=-1e308", 200, "Approve|Review|Block"),
        (b"TransactionAmt=1e309", 422, "TransactionAmt is infinite"),
        (b"TransactionAmt=nan", 422, "TransactionAmt is missing"),
        (b"TransactionAmt=1&TransactionDT=-5", 422, "TransactionDT is -5"),
        (b"TransactionAmt=1&DeviceInfo=" + b"x" * 4_000_000, 200, "Approve"),
        (b"from=row&row=" + b"x" * 4_000_000, 422, "The text is not CSV: field larger"),
        (b"from=row&row=" + b"%7B" * 200_000, 422, "more objects and arrays"),
        (b"from=row&row=%7B%22TransactionAmt%22:1,%22a%22:1%7D", 422, "unknown field 'a'"),
        ("TransactionAmt=1&P_emaildomain=\U0001f600\u202e".encode(), 200, "Approve"),
        (b"TransactionAmt=1&P_emaildomain=%ff", 422, "the form is not UTF-8|Not scored"),
        (b"\xff\xfe", 422, "The form is not UTF-8"),
        (b"TransactionAmt=1&TransactionAmt=2", 422, "TransactionAmt was sent twice"),
        (b"transactionamt=1", 422, "did you mean TransactionAmt"),
        (b"V1=1", 422, "the form has no field 'V1'|The form has no field 'V1'"),
        (b"&".join(b"f%d=1" % i for i in range(10_000)), 422, "paste a row instead"),
        (b"from=sky", 422, 'From must be "fields" or "row"'),
        (b"explain=lime&TransactionAmt=1", 422, 'Explain must be "path" or "shap"'),
        (b"", 422, "TransactionAmt is missing"),
    ],
)
def test_hostile_forms_get_a_clear_answer(
    client: TestClient, body: bytes, status: int, words: str
) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/check", content=body, headers=headers)
    assert answer.status_code == status
    assert re.search(words, text_of(answer.text))
    assert len(answer.content) < 500_000


def test_script_in_a_value_is_shown_as_text(client: TestClient) -> None:
    attack = "<script>alert(1)</script>"
    row = orjson.dumps({"TransactionAmt": 990, "DeviceInfo": attack, "P_emaildomain": attack})
    for form in ({"TransactionAmt": "990", "DeviceInfo": attack},
                 {"from": "row", "row": row.decode()}, {"TransactionAmt": attack}):  # fmt: skip
        page = post(client, **form)[1]
        assert "alert(1)" in page
        assert "<script>" not in page


def test_no_model_is_said_and_the_form_is_kept(tmp_path: Path) -> None:
    app = make_app(tmp_path, model=StaticModel(problem="artifact store: not there"))
    with TestClient(app, LOCAL) as client:
        assert "there is a problem with the artifact store" in client.get("/check").text
        answer = client.post("/check", data={"TransactionAmt": "12", "card1": "9500"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "No model is loaded: artifact store: not there" in text_of(answer.text)
    assert 'value="9500"' in answer.text


def test_candidates_are_charged_and_the_refusal_keeps_the_form(tmp_path: Path) -> None:
    bundle = replace(tiny_bundle(), thresholds=Thresholds(0.0, 2.0))
    app = make_app(tmp_path, model=StaticModel(bundle), dashboard_predict_rows_per_second=5)
    with TestClient(app, LOCAL) as client:
        assert client.post("/check", data={"TransactionAmt": "990"}).status_code == 200
        refused = client.post("/check", data={"TransactionAmt": "991"})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "try again in" in text_of(refused.text)
        assert 'value="991"' in refused.text
        body = {"transactions": [make_transaction()]}
        assert client.post("/predict", json=body).status_code == 429  # one limit for both


def test_too_many_rows_and_too_large_bodies_are_refused(client: TestClient) -> None:
    rows = "TransactionAmt,card1\n" + "1,1\n" * 1001
    status, page = post(client, **{"from": "row"}, row=rows)
    assert status == 413
    assert "More than 1,000 transactions" in text_of(page)
    answer = client.post("/check", content=b"a" * (11 * 1024 * 1024))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("from=row", 200),
        ("sample=unusual", 200),
        ("from=row&sample=usual", 200),
        ("from=sky", 422),
        ("sample=x", 422),
        ("flag=9-9", 404),
        ("flag=x", 404),
        ("sample=usual&flag=0-1", 422),
        ("TransactionAmt=5", 400),
        ("from=row&from=row", 400),
    ],
)
def test_query_of_the_form_is_checked(client: TestClient, query: str, status: int) -> None:
    assert client.get(f"/check?{query}").status_code == status
    assert client.post("/check?x=1").status_code == 400


def test_form_is_filled_in_from_a_flag(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    topic.append(encode_score(make_score(0.9, transaction_id=77)))
    app = make_app(tmp_path, topic, StaticModel(tiny_bundle()))
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 1)
        flag = client.get("/api/v1/flags").json()["items"][0]
        page = client.get("/check?" + urlencode({"flag": flag["id"]})).text
        assert "Filled in from flagged transaction 77" in page
        amount: Any = flag["context"]["TransactionAmt"]
        assert f'value="{amount:g}"' in page or f'value="{amount}"' in page
        pasted = client.get("/check?" + urlencode({"flag": flag["id"], "from": "row"})).text
        assert "P_emaildomain" in pasted


def test_form_has_the_fields_of_an_analyst_with_labels(client: TestClient) -> None:
    page = client.get("/check").text
    for column in COLUMNS:
        assert page.count(f'for="f-{column}"') == page.count(f'id="f-{column}"') == 1
    assert page.count("<details class=") == 3
    assert "innerHTML" not in page


def test_pages_of_other_sites_cannot_send_the_form(client: TestClient) -> None:
    answer = client.post("/check", data={"TransactionAmt": "1"}, headers={"origin": "http://x"})
    assert answer.status_code == 403
