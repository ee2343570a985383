"""Each user may do a number of actions per minute; looking is free."""

from __future__ import annotations

from tests.unit.dashboard.cases.conftest import StartDashboard


def test_users_have_a_limit_of_their_own_and_an_export_is_dear(start: StartDashboard) -> None:
    desk = start(dashboard_actions_per_minute=70)
    statuses = [desk.call("ana", "POST", "/flags/0-1/claim").status_code for _ in range(9)]
    assert set(statuses) == {200}
    assert desk.call("ana", "GET", "/export.csv").status_code == 200  # 69 of 70
    two = [{"id": f"0-{n}", "label": "FRAUD"} for n in (1, 2, 3)]
    assert desk.call("ana", "POST", "/decisions:batch", {"decisions": two}).status_code == 200
    for method, path, body in (
        ("POST", "/flags/0-0/claim", None),
        ("DELETE", "/flags/0-0/claim", None),
        ("POST", "/flags/0-0/snooze", {"hours": 1}),
        ("POST", "/flags/0-0/decision", {"label": "FRAUD"}),
        ("DELETE", "/flags/0-1/decision", None),
        ("POST", "/flags/claim-next", {}),
        ("POST", "/decisions:batch", {"decisions": two}),
        ("POST", "/views", {"name": "mine", "query": ""}),
        ("DELETE", "/views/mine", None),
        ("GET", "/export.jsonl", None),
    ):
        refused = desk.call("ana", method, path, body)
        assert refused.status_code == 429, path
        assert "DASHBOARD_ACTIONS_PER_MINUTE=70" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) >= 1
    form = {"authorization": f"Bearer {desk.tokens['ana']}"}
    page = desk.client.post("/t/0-0", data={"claim": "claim"}, headers=form)
    assert page.status_code == 429
    assert "Not saved: more actions than DASHBOARD_ACTIONS_PER_MINUTE=70" in page.text
    assert desk.call("ana", "GET", "/views").status_code == 200
    assert desk.call("ana", "GET", "/flags/0-1").status_code == 200
    assert desk.call("bo", "POST", "/flags/0-0/claim").status_code == 200
    assert desk.case("0-0")["by"] == "bo"


def test_no_limit_is_possible(start: StartDashboard) -> None:
    desk = start(dashboard_actions_per_minute=0)
    for _ in range(30):
        assert desk.call("ana", "POST", "/flags/0-1/claim").status_code == 200
