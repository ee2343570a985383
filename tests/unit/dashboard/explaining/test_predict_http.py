"""``/predict`` over HTTP: query parameters, explanations, gzip."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from tests.support.dashboard_kit import StaticModel, make_app, make_transaction, tiny_bundle


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = make_app(tmp_path, model=StaticModel(tiny_bundle()))
    with TestClient(app, "http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize(
    ("query", "names", "hint"),
    [
        ("explain=shap", ["explain"],
         ': send it in the body, {"transactions": [{…}], "explain": "shap"}'),
        ("a=1&b=&a=2", ["a", "b"], ""),
        ("%ff=1", ["\ufffd"], ""),
        (f"{'x' * 200}=1", ["x" * 40], ""),
        ("&".join(f"p{i}=1" for i in range(300)), [f"p{i}" for i in range(100)], ""),
    ],
)  # fmt: skip
def test_query_parameters_are_refused_by_name(
    client: TestClient, query: str, names: list[str], hint: str
) -> None:
    answer = client.post(f"/predict?{query}", json={"transactions": [make_transaction()]})
    problem = answer.json()
    assert answer.status_code == 400
    assert [error["field"] for error in problem["errors"]] == names
    assert problem["detail"] == f"unknown query parameter {names[0]!r}; /predict has none{hint}"


@pytest.mark.parametrize("method", ["path", "shap"])
def test_explanation_has_the_documented_members(client: TestClient, method: str) -> None:
    request = {"transactions": [make_transaction(1, 990.0)], "explain": method}
    sent = gzip.compress(orjson.dumps(request))
    answer = client.post("/predict", content=sent, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()["results"][0]["explanation"]
    document = client.get("/openapi.json").json()["components"]["schemas"]
    assert found.keys() == document["ExplanationModel"]["properties"].keys()
    one = document["ContributionModel"]["properties"].keys()
    assert all(contribution.keys() == one for contribution in found["contributions"])
    assert found["method"] == method


def test_fault_of_a_field_explains_the_rule_over_http(client: TestClient) -> None:
    rows = [make_transaction() | {"TransactionAmount": 1.0}]
    problem = client.post("/predict", json={"transactions": rows}).json()
    reason = "unknown field 'TransactionAmount': did you mean TransactionAmt?"
    assert problem["errors"] == [{"row": 0, "field": "TransactionAmount", "reason": reason}]
    assert problem["detail"].startswith(f"row 0: {reason}; the stream ignores unknown fields")


def test_ten_thousand_fields_are_refused_quickly_with_a_bounded_answer(client: TestClient) -> None:
    row = make_transaction() | {f"{'é' * 30}{i}": 1 for i in range(10_000)}
    answer = client.post("/predict", json={"transactions": [row]})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 100
    assert len(answer.content) < 30_000
