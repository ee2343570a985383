"""The model page and its API: versions side by side, promotion over the pointer seen, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import DeskUnavailable
from dashboard.cases.desk import Desk as CasesDesk
from dashboard.models.facts import compare, describe_features, describe_gate
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from tests.support.dashboard_kit import make_app
from tests.support.factories import publish_only

Facts = Mapping[str, Any]

PASSED: Facts = {
    "gate": {"passed": True, "refusals": [], "notes": ["ROC AUC 0.9"]},
    "metrics": {
        "test": {
            "average_precision": 0.5,
            "average_precision_interval": [0.4, 0.6],
            "review": {"precision": 0.25},
        }
    },
    "training": {"rows": 20_000, "window_seconds": [0, 864_000], "source": "<b>train</b>.csv"},
}
BETTER: Facts = {
    "gate": {"passed": True, "refusals": []},
    "metrics": {"test": {"average_precision": 0.625, "review": {"precision": 0.5}}},
}
REFUSED: Facts = {"gate": {"passed": False, "refusals": ["ROC AUC 0.52 is below 0.6"]}}


class Desk:
    """A dashboard whose proxy names the role of each request."""

    def __init__(self, folder: Path, *gates: Facts) -> None:
        self.store = MemoryStore()
        for facts in gates:
            publish_only(self.store, facts)
        app = make_app(
            folder,
            store=self.store,
            dashboard_auth="proxy",
            dashboard_proxy_addresses="10.1.0.0/16",
            dashboard_proxy_role_header="X-Role",
        )
        self.client = TestClient(
            app, "http://board.example", client=("10.1.2.3", 5000), follow_redirects=False
        )

    def get(self, path: str, role: str = "viewer") -> Any:
        return self.client.get(path, headers={"x-forwarded-user": "ana", "x-role": role})

    def post(self, path: str, body: Any, role: str = "lead") -> Any:
        headers = {"x-forwarded-user": "ana", "x-role": role}
        return self.client.post(f"/api/v1/models/{path}", json=body, headers=headers)

    def send(self, role: str = "lead", **form: str) -> Any:
        headers = {"x-forwarded-user": "ana", "x-role": role}
        return self.client.post("/model", data=form, headers=headers)

    @property
    def promoted(self) -> str | None:
        pointer = self.store.current()
        return None if pointer is None else pointer.version


def wish(expected: str | None, **more: Any) -> dict[str, Any]:
    return {"expected": expected, "reason": "better on May", **more}


def test_versions_are_listed_with_their_gate_and_the_pointer(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED, REFUSED)
    assert desk.post("v1/promote", wish(None)).status_code == 200
    found = desk.get("/api/v1/models").json()
    assert found["promoted"] == "v1"
    assert [v["version"] for v in found["versions"]] == ["v2", "v1"]
    assert [v["gate"]["passed"] for v in found["versions"]] == [False, True]
    assert [p["version"] for p in found["promotions"]] == ["v1"]
    assert "no version was promoted" not in (found["no_previous"] or "")
    assert desk.get("/api/v1/models?limit=1").status_code == 400
    page = desk.get("/model?version=v2").text
    assert "ROC AUC 0.52 is below 0.6" in page
    assert 'name="reason"' not in page  # a viewer has no form


def test_two_versions_are_shown_side_by_side_with_the_change(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED, BETTER)
    found = desk.get("/api/v1/models/v2?against=v1").json()
    quality = found["sections"][0]["rows"][0]
    assert quality["this"]["text"] == "0.6250"
    assert quality["other"] == {"value": 0.5, "text": "0.5000", "interval": "0.4000 to 0.6000"}
    assert quality["change"] == {"text": "+0.1250", "is_better": True}
    precision = next(r for r in found["sections"][1]["rows"] if r["label"] == "Precision")
    assert precision["change"]["text"] == "+25.0 points"
    page = desk.get("/model?version=v1&against=v2").text
    assert "&lt;b&gt;train&lt;/b&gt;.csv" in page
    assert "10 days" in page
    for path in ("v9", "latest", "v1?against=v9"):
        assert desk.get(f"/api/v1/models/{path}").status_code == 404
    assert desk.get("/model?version=v9").status_code == 404


def test_promotion_that_the_full_disk_does_not_record_says_that_it_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, PASSED)

    def fail(*_: object) -> None:
        raise DeskUnavailable("the outbox cannot be written: disk full")

    monkeypatch.setattr(CasesDesk, "record", fail)
    answer = desk.post("v1/promote", wish(None))
    assert (answer.status_code, answer.json()["type"]) == (503, "not-in-audit-log")
    assert answer.json()["detail"].startswith("v1 is promoted, but the audit log has no event")
    assert desk.promoted == "v1"


def test_only_a_lead_promotes_and_only_over_the_pointer_seen(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED, BETTER)
    for role in ("viewer", "analyst", "ops"):
        refused = desk.post("v1/promote", wish(None), role)
        assert (refused.status_code, refused.json()["type"]) == (403, "role-required")
        assert desk.post("rollback", [], role).status_code == 403  # whatever the body is
    assert desk.store.history() == []
    assert desk.post("v1/promote", wish(None)).json()["promoted"] == "v1"
    stale = desk.post("v2/promote", wish(None))
    assert (stale.status_code, stale.json()["type"]) == (409, "pointer-moved")
    assert desk.promoted == "v1"
    assert desk.post("v2/promote", wish("v1")).status_code == 200
    assert desk.post("rollback", wish("v1")).json()["type"] == "pointer-moved"
    assert desk.post("rollback", wish("v2")).json() | {"loaded_within_seconds": 0} == {
        "promoted": "v1", "previous": "v2", "is_rollback": True, "force": False,
        "loaded_within_seconds": 0, "mlflow": None,
    }  # fmt: skip
    assert desk.post("rollback", wish("v1")).json()["type"] == "nothing-to-roll-back-to"
    assert [p.is_rollback for p in desk.store.history()] == [False, False, True]


def test_refusal_of_the_gate_needs_force_which_the_store_records(tmp_path: Path) -> None:
    desk = Desk(tmp_path, REFUSED)
    refused = desk.post("v1/promote", wish(None)).json()
    assert (refused["status"], refused["type"]) == (409, "needs-force")
    assert refused["reasons"] == ["ROC AUC 0.52 is below 0.6"]
    assert desk.post("v1/promote", wish(None, force=True)).status_code == 200
    override = desk.store.history()[0].override
    assert override is not None
    assert (override.by, override.reason) == ("ana", "better on May")
    assert "by ana" in desk.get("/api/v1/models").json()["versions"][0]["forced"]


INVALID: tuple[tuple[Any, str], ...] = (
    ({"reason": "x"}, "expected: this field is required"),
    ({"expected": None}, "reason: this field is required"),
    (wish(None) | {"reason": "  "}, "reason: "),
    (wish(None) | {"reason": "x" * 501}, "at most 500"),
    (wish(None, forced=True), "forced: unknown field"),
    ([1], 'must be a JSON object with "expected", "reason", "force"'),
)


def test_body_that_is_not_valid_names_the_field(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED)
    for body, words in INVALID:
        answer = desk.post("v1/promote", body)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]


def test_store_that_cannot_be_written_says_which_right_is_missing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED)
    desk.store.script(StoreFault("unavailable", "create manifests/*"))
    refused = desk.post("v1/promote", wish(None))
    assert (refused.status_code, refused.json()["type"]) == (503, "store-refused")
    assert "nothing was promoted" in refused.json()["detail"]
    assert "write permission" in refused.json()["detail"]


def test_store_that_cannot_be_read_leaves_a_page_with_the_reason(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED)
    desk.store.script(StoreFault("unavailable", times=100))
    page = desk.get("/model")
    assert page.status_code == 503
    assert "artifact store cannot be read" in page.text
    assert desk.get("/api/v1/models").json()["type"] == "store-unavailable"


def test_forms_promote_without_javascript(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PASSED, REFUSED)
    page = desk.get("/model?version=v1", "lead").text
    assert '<input type="hidden" name="expected" value="">' in page
    done = desk.send(version="v1", expected="", reason="the first one")
    assert (done.status_code, done.headers["location"]) == (303, "/model?version=v1&done=yes")
    assert "v1 is promoted." in desk.get(done.headers["location"], "lead").text
    assert "is promoted." not in desk.get("/model?version=v2&done=yes", "lead").text
    refused = desk.send(version="v2", expected="v1", reason="<i>why</i>")
    assert refused.status_code == 409
    assert "Its gate refused v2: ROC AUC 0.52" in refused.text
    assert "&lt;i&gt;why&lt;/i&gt;" in refused.text
    assert "the reason is missing" in desk.send(version="v2", expected="v1").text.lower()
    assert desk.send("analyst", version="v2", expected="v1", reason="x").status_code == 403
    assert desk.send(version="v2", expected="v1", reason="x", force="yes").status_code == 303
    assert desk.promoted == "v2"


@pytest.mark.parametrize("odd", [None, 3, "text", [1], {"test": 7}, {"names": {}}, True])
def test_metadata_of_any_shape_is_shown_as_far_as_it_goes(odd: object) -> None:
    names = ("metrics", "thresholds", "gate", "training", "features", "feature_gain", "served",
             "calibration", "parameters", "libraries", "created_at")  # fmt: skip
    metadata = dict.fromkeys(names, odd)
    compare(metadata, {"metrics": {"test": {"average_precision": float("nan")}}})
    assert describe_gate(metadata)["passed"] is False
    assert describe_features(metadata) == []
    assert describe_gate({})["passed"] is None
    huge = {"metrics": {"test": {"rows": 10**400, "average_precision": 1e308}}}
    assert compare(huge, None) == []
