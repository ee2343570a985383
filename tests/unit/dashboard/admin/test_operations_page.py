"""The operations page and its API: every figure, and who may read the messages of drivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from dashboard.operations.backlog import PartitionBacklog
from dashboard.operations.dead_letters import DeadLetters
from dashboard.web.admin.operations import format_delay, format_ranges
from dashboard.web.admin.operations_docs import OperationsModel
from stream_scorer.errors import RetryableError
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.operations.brokers import MemoryBacklog, MemoryDeadLetters, make_monitor
from tests.support.waiting import wait_until

LETTER = {"place": "3-7", "time": 1_795_000_000_000, "stage": "decode", "value_bytes": 12,
          "reason": "<b>truncated</b>", "input": "transactions 3-99"}  # fmt: skip
PROXY: dict[str, Any] = {
    "dashboard_auth": "proxy",
    "dashboard_proxy_addresses": "10.1.0.0/16",
    "dashboard_proxy_role_header": "X-Role",
}


def ask(app: Any, path: str, role: str = "ops") -> Any:
    client = TestClient(app, "http://board.example", client=("10.1.2.3", 5000))
    return client.get(path, headers={"x-forwarded-user": "ola", "x-role": role})


def test_page_and_api_show_backlog_versions_and_dead_letters(tmp_path: Path) -> None:
    topic = MemoryTopic(2)
    backlog = MemoryBacklog(
        [PartitionBacklog(0, 5, 0, 12), PartitionBacklog(1, None, 3, 1003)], ["fraud-labels"]
    )
    dead_letters = MemoryDeadLetters(DeadLetters(1, [LETTER]))
    app = make_app(tmp_path, topic, monitor=make_monitor(backlog, dead_letters), **PROXY)
    with TestClient(app, "http://board.example", client=("10.1.2.3", 5000)) as client:
        for partition, version in ((0, "v7"), (1, "v7"), (1, "v8")):
            topic.append(encode_score(make_score(0.1, model_version=version)), partition)
        wait_until(lambda: app.state.parts.board.counts.scored == 3, what="the scores")
        headers = {"x-forwarded-user": "ola", "x-role": "analyst"}
        wait_until(lambda: app.state.parts.operations.monitor.state.backlog.at, what="the backlog")
        found = client.get("/api/v1/operations", headers=headers).json()
        page = client.get("/ops", headers=headers).text
        assert client.get("/ops?x=1", headers=headers).status_code == 400
    OperationsModel.model_validate(found)
    assert found["backlog"]["waiting"] == 1007
    assert [p["waiting"] for p in found["backlog"]["partitions"]] == [7, 1000]
    assert found["versions"]["live"] == [
        {"version": "v7", "partitions": [0]}, {"version": "v8", "partitions": [1]},
    ]  # fmt: skip
    assert [row["before"] == [] for row in found["versions"]["partitions"]] == [True, False]
    assert found["dead_letters"]["newest"] == [LETTER]
    checks = {check["name"]: (check["state"], check["text"]) for check in found["checks"]}
    assert checks["Broker"] == ("ok", "answers")
    assert checks["Topics"][0] == "bad"
    assert "fraud-labels" in checks["Topics"][1]
    assert "stream-scorer topics create" in checks["Topics"][1]
    assert "1,007" in page
    assert "&lt;b&gt;truncated&lt;/b&gt;" in page
    assert "v7 on 0; v8 on 1." in page


def test_messages_of_drivers_are_for_people_on_call(tmp_path: Path) -> None:
    error = RetryableError("10.0.0.7:9092: connection refused")
    monitor = make_monitor(MemoryBacklog(error=error), MemoryDeadLetters(error=error))
    monitor.poll()
    monitor.read_dead_letters()
    app = make_app(tmp_path, monitor=monitor, **PROXY)
    for role, is_shown in (("ops", True), ("lead", True), ("analyst", False), ("viewer", False)):
        found = ask(app, "/api/v1/operations", role)
        assert ("10.0.0.7" in found.text) is is_shown
        assert ("10.0.0.7" in ask(app, "/ops", role).text) is is_shown
        broker = found.json()["checks"][0]
        assert (broker["name"], broker["state"]) == ("Broker", "bad")
        assert broker["since"] is not None


def test_delays_and_partitions_are_short_to_read() -> None:
    shown = [format_delay(ms) for ms in (0, 38.4, 999.4, 1200, 210_000, 7_560_000)]
    assert shown == ["0 ms", "38 ms", "999 ms", "1.2 s", "3.5 min", "2.1 h"]
    assert format_ranges([0, 1, 2, 3, 7, 9, 10]) == "0 to 3, 7, 9 to 10"
    assert format_ranges([]) == ""
