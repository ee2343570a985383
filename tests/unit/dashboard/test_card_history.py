"""Card history in the API, on the pages, in /health and in the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.history.past import HistoryStatus, Recent
from dashboard.web.tokens import make_token
from stream_scorer.features.history.card_record import PastTransaction
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_context,
    make_score,
    make_transaction,
    tiny_bundle,
)
from tests.support.history.scored_stream import NOW, history_bundle, make_rows
from tests.support.history.scripted_histories import LOADED, ScriptedHistories
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
SECRET = "s3cr3t"


@contextmanager
def client_of(
    folder: Path,
    histories: ScriptedHistories | None,
    topic: MemoryTopic | None = None,
    **settings: Any,
) -> Iterator[TestClient]:
    bundle = tiny_bundle() if histories is None else history_bundle()
    app = make_app(folder, topic, StaticModel(bundle), histories, **settings)
    with TestClient(app, LOCAL) as client:
        yield client


def test_predict_tells_of_each_result_which_history_it_used(tmp_path: Path) -> None:
    with client_of(tmp_path, ScriptedHistories(LOADED)) as client:
        answer = client.post("/predict", json={"transactions": make_rows(7)})
        metrics = client.get("/metrics").text
        schema = client.get("/openapi.json").json()["components"]["schemas"]
    assert answer.status_code == 200
    used = {"used": True, "as_of": "2026-01-31T12:00:00Z", "partition": 7, "offset": 123}
    missing = {"used": False, "reason": "<b>why</b>\\x1b"}
    assert [r["history"] for r in answer.json()["results"]] == [
        missing, used, used, missing, used, used, missing,
    ]  # fmt: skip
    assert 'fraud_scorer_history_predictions_total{used="true"} 4.0' in metrics
    assert 'fraud_scorer_history_predictions_total{used="false"} 3.0' in metrics
    described = schema["HistoryModel"]["properties"]
    assert described.keys() == used.keys() | missing.keys()
    assert schema["ResultModel"]["properties"]["history"]


def test_predict_without_history_is_as_before(tmp_path: Path) -> None:
    with client_of(tmp_path, None) as client:
        answer = client.post("/predict", json={"transactions": [make_transaction()]})
        metrics = client.get("/metrics").text
        health, meta = client.get("/health").json(), client.get("/api/v1/meta").json()
        page = client.get("/check").text
    assert "history" not in answer.json()["results"][0]
    assert "fraud_scorer_history_predictions_total{" not in metrics
    assert "fraud_scorer_dashboard_history" not in metrics
    assert "history" not in health["checks"]
    assert meta["history"] is None
    assert "Card history" not in page


def test_history_that_is_off_is_named_wherever_a_model_reads_one(tmp_path: Path) -> None:
    app = make_app(tmp_path, model=StaticModel(history_bundle()))
    with TestClient(app, LOCAL) as client:
        (result,) = client.post("/predict", json={"transactions": make_rows(1)}).json()["results"]
        assert result["history"] == {"used": False, "reason": "off"}
        check = client.get("/health").json()["checks"]["history"]
        assert (check["ok"], check["mode"], check["detail"]) == (True, "none", "")
        assert "PREDICT_HISTORY=none" in client.get("/check").text


def test_health_and_check_page_say_what_predict_uses_and_how_old(tmp_path: Path) -> None:
    with client_of(tmp_path, ScriptedHistories(LOADED)) as client:
        wait_until(lambda: client.get("/health").status_code == 200, what="the feed")
        check = client.get("/health").json()["checks"]["history"]
        assert client.get("/api/v1/meta").json()["history"] == {
            name: value for name, value in check.items() if name != "ok"
        }
        page = client.get("/check").text
    assert check == {
        "ok": True,
        "mode": "snapshot",
        "era": 3,
        "partitions": 12,
        "loaded": 12,
        "as_of": "2026-01-31T12:00:00Z",
        "bytes": 5_000_000,
        "detail": "",
    }
    assert (
        "Card history (snapshot): 12 of 12 partitions loaded, the oldest as of "
        "2026-01-31 12:00:00 UTC." in page
    )


def test_history_that_is_incomplete_fails_health_and_hides_why_from_strangers(
    tmp_path: Path,
) -> None:
    problem = f"s3://{SECRET} is <i>down</i>"
    status = HistoryStatus("follow", 3, 12, 11, NOW, 1, 0, problem)
    token, line = make_token("olga", "ops")
    (tmp_path / "tokens").write_text(line)
    settings: dict[str, Any] = {
        "dashboard_auth": "token",
        "dashboard_tokens_file": tmp_path / "tokens",
    }
    with client_of(tmp_path, ScriptedHistories(status), **settings) as client:
        stranger = client.get("/health")
        assert stranger.status_code == 503
        assert SECRET not in stranger.text
        assert stranger.json()["checks"]["history"]["detail"].endswith("see the reason")
        wait_until(lambda: client.get("/readyz").status_code == 200, what="readiness")
        client.headers["authorization"] = f"Bearer {token}"
        check = client.get("/health").json()["checks"]["history"]
        assert (check["ok"], check["loaded"], check["detail"]) == (False, 11, problem)
        page = client.get("/check").text
    assert "11 of 12 partitions loaded" in page
    assert f"s3://{SECRET} is &lt;i&gt;down" in page


def test_gauges_show_partitions_age_and_memory(tmp_path: Path) -> None:
    as_of = datetime.now(UTC) - timedelta(seconds=300)
    status = HistoryStatus("snapshot", 3, 12, 10, as_of, 5_000_000, 4)
    with client_of(tmp_path, ScriptedHistories(status)) as client:
        lines = dict(
            line.rsplit(" ", 1)
            for line in client.get("/metrics").text.splitlines()
            if line.startswith("fraud_scorer_dashboard_history")
        )
    prefix = "fraud_scorer_dashboard_history"
    assert float(lines[f'{prefix}_partitions{{state="loaded"}}']) == 10
    assert float(lines[f'{prefix}_partitions{{state="missing"}}']) == 2
    assert 300 <= float(lines[f"{prefix}_age_seconds"]) < 400
    assert float(lines[f"{prefix}_bytes"]) == 5_000_000
    assert float(lines[f"{prefix}_damaged_snapshots_total"]) == 4


@pytest.fixture
def flagged() -> MemoryTopic:
    topic = MemoryTopic(1)
    source = {"topic": "transactions", "partition": 0, "offset": 5}
    context = make_context(TransactionDT=86_400, TransactionAmt=10.0)
    topic.append(encode_score(make_score(0.9, source=source, context=context)))
    return topic


def page_of(folder: Path, histories: ScriptedHistories, topic: MemoryTopic) -> str:
    with client_of(folder, histories, topic) as client:
        wait_until(lambda: client.get("/t/0-5").status_code == 200, what="the flag")
        return client.get("/t/0-5").text


def test_page_of_a_transaction_shows_the_last_ones_of_its_card(
    tmp_path: Path, flagged: MemoryTopic
) -> None:
    past = [PastTransaction(90_061, 12.5), PastTransaction(86_400, 1234.5)]
    past.append(PastTransaction(2**32 - 1, float("nan")))
    histories = ScriptedHistories(LOADED, Recent("client", past, NOW, True))
    page = page_of(tmp_path, histories, flagged)
    table = page.partition('<table class="plain recent">')[2].partition("</table>")[0]
    assert "The last transactions of the same client, newest first" in table
    assert '<td>D+1 01:01:01</td><td class="num">12.50</td>' in table
    assert '<td>D+1 00:00:00</td><td class="num">1,234.50</td>' in table
    assert '<td class="num">—</td>' in table
    assert "Card history of the same client, as of 2026-01-31 12:00:00 UTC." in page
    assert histories.asked[-1]["TransactionAmt"] == 10.0


def test_page_escapes_the_history_and_says_that_it_is_not_up_to_date(
    tmp_path: Path, flagged: MemoryTopic
) -> None:
    found = Recent("<script>x", [PastTransaction(1, 1.0)], NOW, False)
    page = page_of(tmp_path, ScriptedHistories(LOADED, found), flagged)
    assert "<script>x" not in page
    assert "same &lt;script&gt;x, as of" in page
    assert "; this transaction is not in it yet." in page


def test_page_without_a_history_has_no_such_table(tmp_path: Path, flagged: MemoryTopic) -> None:
    assert "Last transactions" not in page_of(tmp_path, ScriptedHistories(LOADED), flagged)


def test_score_without_a_context_has_a_page(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    source = {"topic": "transactions", "partition": 0, "offset": 5}
    topic.append(encode_score(make_score(0.9, source=source, context=None)))
    histories = ScriptedHistories(LOADED)
    page_of(tmp_path, histories, topic)
    assert histories.asked[-1] == {}
