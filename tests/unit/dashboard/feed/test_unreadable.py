"""Score records that cannot be read: their places, and how to look at them."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.waiting import wait_until


def test_places_of_unreadable_scores_are_on_the_operations_page(tmp_path: Path) -> None:
    topic = MemoryTopic(2)
    for value in (encode_score(make_score(0.9)), b"<b>\x1b[31m", *[b"bad"] * 30):
        topic.append(value, 1)
    made = {role: make_token(role, role) for role in ("viewer", "ops")}
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(line for _, line in made.values()))
    app = make_app(tmp_path, topic, dashboard_auth="token", dashboard_tokens_file=tokens)
    board = app.state.parts.board
    with TestClient(app, "http://board.example") as client:
        wait_until(lambda: board.counts.unreadable == 31, what="the records")
        wait_until(lambda: len(board.unreadable) == 20, what="their places")
        found = {}
        for role, (token, _) in made.items():
            client.headers["authorization"] = f"Bearer {token}"
            found[role] = client.get("/api/v1/operations").json()["unreadable"]
            page = client.get("/ops").text
            assert '<tr id="fraud-scores[1]@20">' in page
            assert "--topic fraud-scores --partition 1 --offset 20 --max-messages 1" in page
        queue = client.get("/").text
    assert 'href="/ops#unreadable"' in queue
    assert queue.count("<b>Unreadable</b>") == 3
    assert 'href="/ops#fraud-scores%5B1%5D%4020"' in queue
    assert found["ops"]["records"] == 31
    newest = found["ops"]["newest"]
    # The first 20 of what was read at once: 1 to 20.
    assert [one["place"] for one in newest] == [f"fraud-scores[1]@{n}" for n in range(20, 0, -1)]
    assert "framing" in newest[0]["reason"]
    assert all("see the reason" in one["reason"] for one in found["viewer"]["newest"])
