"""Claims, decisions and snoozes over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from dashboard.cases.log import Channel
from schemas.records import decode_record
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until
from tests.unit.dashboard.cases.conftest import Dashboard, StartDashboard

FRAUD = {"label": "FRAUD", "reasons": ["stolen card"], "note": " called the holder "}


def labels(log: MemoryLog) -> list[dict[str, Any]]:
    return [decode_record("fraud_label", r.value) for r in log.records(Channel.LABELS)]


def test_claim_holds_the_case_and_the_second_claim_is_a_conflict_with_name_and_age(
    desk: Dashboard,
) -> None:
    answer = desk.call("ana", "POST", "/flags/0-1/claim")
    assert answer.status_code == 200
    case = answer.json()["case"]
    assert (case["status"], case["by"], case["version"]) == ("claimed", "ana", 1)
    assert 0 < case["until"] - case["since"] <= 15 * 60_000
    assert answer.headers["etag"] == '"1"'
    refused = desk.call("bo", "POST", "/flags/0-1/claim")
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["detail"] == "0-1 is claimed by ana 0 s ago"
    assert (problem["by"], problem["case"]["by"]) == ("ana", "ana")
    assert desk.call("bo", "POST", "/flags/0-1/decision", FRAUD).status_code == 409
    assert desk.call("bo", "POST", "/flags/0-1/snooze", {"hours": 1}).status_code == 409
    assert desk.call("bo", "DELETE", "/flags/0-1/claim").status_code == 409
    assert desk.call("ana", "POST", "/flags/0-1/claim").json()["case"]["version"] == 1
    released = desk.call("ana", "DELETE", "/flags/0-1/claim")
    assert released.json()["case"]["status"] == "open"
    assert desk.call("bo", "POST", "/flags/0-1/claim").json()["case"]["by"] == "bo"
    assert "fraud_scorer_dashboard_desk_conflicts_total 4.0" in desk.client.get("/metrics").text


def test_decision_is_recorded_with_everything_it_was_made_on(
    desk: Dashboard, log: MemoryLog
) -> None:
    desk.call("ana", "POST", "/flags/0-2/claim")
    answer = desk.call("ana", "POST", "/flags/0-2/decision", FRAUD, idempotency_key="k-1")
    assert answer.status_code == 201, answer.text
    case = answer.json()["case"]
    (record,) = log.records(Channel.LABELS)
    assert case["recorded"] == str(record.place)
    assert (case["status"], case["label"], case["decided_by"]) == ("decided", "FRAUD", "ana")
    assert (case["note"], case["reasons"], case["pending"]) == (
        "called the holder", ["stolen card"], False,
    )  # fmt: skip
    (label,) = labels(log)
    assert label["transaction_id"] == 102
    assert label["source"] == {"topic": "transactions", "partition": 0, "offset": 2}
    assert (label["score"], label["review_threshold"], label["model_version"]) == (0.9, 0.4, "v7")
    assert (label["origin"], label["supersedes"]) == ("ANALYST", None)
    assert dict(record.headers or ())["decision-id"] == b"k-1"


def test_same_key_and_body_is_one_decision_and_another_body_is_refused(
    desk: Dashboard, log: MemoryLog
) -> None:
    first = desk.call("ana", "POST", "/flags/0-2/decision", FRAUD, idempotency_key="k")
    again = desk.call("ana", "POST", "/flags/0-2/decision", FRAUD, idempotency_key="k")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    other = FRAUD | {"label": "LEGITIMATE"}
    refused = desk.call("ana", "POST", "/flags/0-2/decision", other, idempotency_key="k")
    assert (refused.status_code, refused.json()["type"]) == (422, "idempotency-key-reused")
    refused = desk.call("bo", "POST", "/flags/0-2/decision", FRAUD, idempotency_key="k")
    assert refused.status_code == 422
    assert len(labels(log)) == 1
    bad = desk.call("ana", "POST", "/flags/0-2/decision", FRAUD, idempotency_key="a b")
    assert bad.status_code == 400


def test_decision_on_an_old_version_is_refused_with_the_case_as_it_is(desk: Dashboard) -> None:
    path = "/flags/0-2/decision"
    assert desk.call("ana", "POST", path, FRAUD, if_match='"0"').status_code == 201
    stale = desk.call("bo", "POST", path, FRAUD, if_match='"0"')
    assert stale.status_code == 412
    assert stale.json()["case"]["decided_by"] == "ana"
    assert stale.headers["etag"] == '"1"'
    correction = {"label": "LEGITIMATE"}
    assert desk.call("bo", "POST", path, correction, if_match='"1"').status_code == 201
    assert desk.call("bo", "POST", path, FRAUD, if_match="x").status_code == 400


def test_correction_supersedes_and_withdrawal_opens_the_case_again(
    desk: Dashboard, log: MemoryLog
) -> None:
    path = "/flags/0-2/decision"
    first = desk.call("ana", "POST", path, FRAUD).json()["case"]["recorded"]
    second = desk.call("bo", "POST", path, {"label": "LEGITIMATE"}).json()["case"]["recorded"]
    withdrawn = desk.call("bo", "DELETE", path)
    assert withdrawn.status_code == 201
    case = withdrawn.json()["case"]
    assert (case["status"], case["label"], case["version"]) == ("open", None, 3)
    assert [label["supersedes"] for label in labels(log)] == [None, first, second]
    assert [label["label"] for label in labels(log)] == ["FRAUD", "LEGITIMATE", "UNSURE"]
    last = log.records(Channel.LABELS)[-1]
    assert dict(last.headers or ())["decision-kind"] == b"withdraw"
    assert desk.call("bo", "DELETE", path).status_code == 409
    history = desk.call("vic", "GET", "/flags/0-2/history").json()["items"]
    assert [(e["kind"], e["by"], e["label"]) for e in history] == [
        ("decision", "ana", "FRAUD"), ("decision", "bo", "LEGITIMATE"),
        ("withdrawal", "bo", "UNSURE"),
    ]  # fmt: skip


def test_snooze_hides_the_case_and_a_claim_of_a_decided_case_is_a_conflict(
    desk: Dashboard,
) -> None:
    case = desk.call("ana", "POST", "/flags/0-1/snooze", {"hours": 2}).json()["case"]
    assert (case["status"], case["by"]) == ("snoozed", "ana")
    case = desk.call("bo", "POST", "/flags/0-1/snooze", {"hours": 0}).json()["case"]
    assert case["status"] == "open"
    desk.call("ana", "POST", "/flags/0-1/decision", FRAUD)
    refused = desk.call("bo", "POST", "/flags/0-1/claim")
    assert (refused.status_code, refused.json()["by"]) == (409, "ana")
    assert "is decided by ana" in refused.json()["detail"]


def test_next_case_is_the_open_one_with_the_highest_expected_loss(desk: Dashboard) -> None:
    desk.call("bo", "POST", "/flags/0-3/claim")
    desk.call("bo", "POST", "/flags/0-2/snooze", {"hours": 1})
    answer = desk.call("ana", "POST", "/flags/claim-next", {"selection": {"product": "W"}})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["id"], body["flag"]["id"], body["case"]["by"]) == ("0-1", "0-1", "ana")
    assert desk.call("ana", "POST", "/flags/claim-next").json()["id"] == "0-0"
    assert desk.call("ana", "POST", "/flags/claim-next").status_code == 204
    unknown = desk.call("ana", "POST", "/flags/claim-next", {"selection": {"color": "red"}})
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["field"] == "selection.color"


def test_bulk_has_a_result_for_each_decision(desk: Dashboard, log: MemoryLog) -> None:
    desk.call("bo", "POST", "/flags/0-3/claim")
    items: list[dict[str, Any]] = [{"id": f"0-{i}", "label": "LEGITIMATE"} for i in range(4)]
    items += [{"id": "9-9", "label": "FRAUD"}]
    items[1]["version"] = 7
    answer = desk.call("ana", "POST", "/decisions:batch", {"decisions": items})
    assert answer.status_code == 200
    found = answer.json()["items"]
    assert [item["status"] for item in found] == [201, 412, 201, 409, 404]
    assert found[0]["case"]["recorded"]
    assert found[3]["problem"]["detail"].startswith("0-3 is claimed by bo")
    assert sorted(label["transaction_id"] for label in labels(log)) == [100, 102]
    for spelling in ("0-0", "00-0", "transactions:0-0"):
        twice = {"decisions": [items[0], items[0] | {"id": spelling, "label": "FRAUD"}]}
        assert desk.call("ana", "POST", "/decisions:batch", twice).status_code == 422
    assert len(labels(log)) == 2
    many = {"decisions": [{"id": f"1-{i}", "label": "FRAUD"} for i in range(101)]}
    assert desk.call("ana", "POST", "/decisions:batch", many).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"label": "MAYBE"}, "label"),
        ({}, "label"),
        ({"label": "FRAUD", "colour": 1}, "colour"),
        ({"label": "FRAUD", "note": 5}, "note"),
        ({"label": "FRAUD", "reasons": ["x" * 65]}, "reasons.0"),
        ({"label": "FRAUD", "note": "x" * 2001}, "note"),
    ],
)
def test_fault_in_a_body_names_its_field(desk: Dashboard, body: Any, field: str) -> None:
    answer = desk.call("ana", "POST", "/flags/0-1/decision", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert desk.case("0-1")["version"] == 0


def test_roles_and_unknown_flags_and_parameters(desk: Dashboard) -> None:
    for who in ("vic", "olga"):
        answer = desk.call(who, "POST", "/flags/0-1/claim")
        assert (answer.status_code, answer.json()["type"]) == (403, "role-required")
        assert desk.call(who, "POST", "/flags/0-1/decision", FRAUD).status_code == 403
        assert desk.call(who, "GET", "/export.csv").status_code == 403
    assert desk.call("ana", "GET", "/audit").status_code == 403
    assert desk.call("olga", "GET", "/audit").status_code == 200
    for path in ("/flags/0-99/claim", "/flags/nonsense/claim"):
        assert desk.call("ana", "POST", path).status_code == 404
    assert desk.call("ana", "GET", "/flags/0-99/history").status_code == 404
    assert desk.call("ana", "POST", "/flags/0-1/claim?x=1").status_code == 400
    assert desk.call("lea", "GET", "/audit?x=1").status_code == 400


def test_audit_lists_who_did_what_from_where_in_pages(desk: Dashboard) -> None:
    desk.call("ana", "POST", "/flags/0-1/claim")
    desk.call("ana", "POST", "/flags/0-1/decision", FRAUD)
    desk.call("bo", "POST", "/flags/0-2/claim")
    wait_until(lambda: desk.status()["events_waiting"] == 0, what="all events are recorded")
    page = desk.call("lea", "GET", "/audit?limit=2").json()
    rest = desk.call("lea", "GET", f"/audit?limit=2&cursor={page['next_cursor']}").json()
    assert rest["next_cursor"] is None
    events = page["items"] + rest["items"]
    assert [(e["kind"], e["by"], e["flag_id"]) for e in events] == [
        ("claim", "bo", "0-2"), ("decision", "ana", "0-1"), ("claim", "ana", "0-1"),
    ]  # fmt: skip
    assert events[1]["details"]["after"] == "FRAUD"
    assert (events[1]["role"], events[1]["client"]) == ("analyst", "testclient")
    only = desk.call("lea", "GET", "/audit?by=ana&kind=claim").json()["items"]
    assert [event["flag_id"] for event in only] == ["0-1"]
    foreign = desk.call("lea", "GET", f"/audit?limit=2&by=ana&cursor={page['next_cursor']}")
    assert foreign.status_code == 400


def test_views_are_saved_for_each_user_and_follow_to_other_replicas(
    desk: Dashboard, start: StartDashboard
) -> None:
    view = {"name": "big", "query": "min_score=0.9", "columns": ["score"]}
    assert desk.call("ana", "POST", "/views", view).status_code == 201
    assert desk.call("ana", "GET", "/views").json()["items"] == [view]
    assert desk.call("bo", "GET", "/views").json()["items"] == []
    other = start("second")
    assert other.call("ana", "GET", "/views").json()["items"] == [view]
    name = f"z/b?{'x' * 56}"
    large = {"name": name, "query": '"' * 2000, "columns": ["y" * 64] * 50}
    assert desk.call("ana", "POST", "/views", large).status_code == 201
    assert desk.call("ana", "GET", "/views").json()["items"] == [view, large]
    assert desk.call("ana", "DELETE", f"/views/{quote(name, safe='')}").status_code == 204
    for refused in ("..", "a\nb", "a\0b", "\x85"):  # no address could delete them
        answer = desk.call("ana", "POST", "/views", view | {"name": refused})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "name"
    assert desk.call("bo", "DELETE", "/views/big").status_code == 404
    assert desk.call("ana", "DELETE", "/views/big").status_code == 204
    assert desk.call("ana", "GET", "/views").json()["items"] == []


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("POST", "claim", None),
        ("DELETE", "claim", None),
        ("POST", "snooze", {"hours": 1}),
        ("DELETE", "decision", None),
    ],
)
def test_every_action_on_a_case_that_has_changed_is_refused_with_its_version(
    desk: Dashboard, method: str, action: str, body: Any
) -> None:
    path = f"/flags/0-1/{action}"
    desk.call("ana", "POST", "/flags/0-1/claim")
    stale = desk.call("ana", method, path, body, if_match='"0"')
    assert (stale.status_code, stale.headers["etag"]) == (412, '"1"')
    assert desk.call("ana", method, path, body, if_match="x").status_code == 400
    assert desk.case("0-1")["version"] == 1
    done = desk.call("ana", method, path, body, if_match='"1"')
    assert done.status_code == (409 if action == "decision" else 200)  # there is none to withdraw


def test_contract_names_the_headers_of_each_action(desk: Dashboard) -> None:
    app: Any = desk.client.app
    found = {
        (method, path.removeprefix("/api/v1")): {
            one["name"] for one in operation.get("parameters", ()) if one["in"] == "header"
        }
        for path, item in app.openapi()["paths"].items()
        for method, operation in item.items()
        if method != "get"
    }
    both = {"Idempotency-Key", "If-Match"}
    assert {action: names for action, names in found.items() if names} == {
        ("post", "/flags/{flag_id}/claim"): {"If-Match"},
        ("delete", "/flags/{flag_id}/claim"): {"If-Match"},
        ("post", "/flags/{flag_id}/snooze"): {"If-Match"},
        ("post", "/flags/{flag_id}/decision"): both,
        ("delete", "/flags/{flag_id}/decision"): both,
        ("post", "/decisions:batch"): {"Idempotency-Key"},
        ("post", "/trainings"): {"Idempotency-Key"},
    }
