"""``/predict`` without HTTP: the same scores as the stream, and faults with row and field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dashboard.predicting import MAX_ROWS, InvalidInput, TooManyRows, predict
from schemas.batch import build_batch
from schemas.json.codec import MAX_FAULTS
from stream_scorer.model.scoring import score
from tests.support.dashboard_kit import make_transaction, tiny_bundle


def ask(*rows: Any, **more: Any) -> bytes:
    return orjson.dumps({"transactions": list(rows), **more})


def faults_of(body: bytes) -> list[tuple[int | None, str | None]]:
    with pytest.raises(InvalidInput) as caught:
        predict(body, tiny_bundle())
    return [(fault.row, fault.field) for fault in caught.value.faults]


def test_scores_are_bit_for_bit_the_same_as_in_the_stream() -> None:
    rows = [make_transaction(i, amount=37.0 * i + 1) for i in range(30)]
    bundle = tiny_bundle()
    expected = score(build_batch(rows), bundle)
    answer = predict(ask(*rows), bundle)
    assert answer.predictions == expected.scores.tolist()
    assert [r["score"] for r in answer.results] == answer.predictions
    assert {r["decision"] for r in answer.results} == {"APPROVE", "BLOCK"}
    for i, result in enumerate(answer.results):
        assert result["transaction_id"] == i
        assert result["is_flagged"] == (result["decision"] != "APPROVE")
        assert result["model_version"] == "v1"
        reasons = [(r["feature"], r["contribution"]) for r in result["reasons"]]
        assert reasons == [(r.feature, r.contribution) for r in expected.reasons.get(i, ())]


def test_shap_reasons_cover_rows_that_are_not_flagged() -> None:
    bundle = tiny_bundle()
    body = ask(make_transaction(1, 990.0), make_transaction(2, 10.0, C13=39.0), explain="shap")
    answer = predict(body, bundle)
    assert all(result["reasons"] for result in answer.results)
    plain = predict(ask(make_transaction(1, 990.0)), bundle)
    assert answer.predictions[0] == plain.predictions[0]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"TransactionAmt": "12"}, "TransactionAmt"),
        ({"TransactionAmt": None}, "TransactionAmt"),
        ({"TransactionID": 1.5}, "TransactionID"),
        ({"TransactionID": None}, "TransactionID"),
        ({"TransactionDT": True}, "TransactionDT"),
        ({"card1": "visa"}, "card1"),
        ({"card1": True}, "card1"),
        ({"ProductCD": 4}, "ProductCD"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_invalid_value_is_reported_with_row_and_field(more: dict[str, Any], field: str) -> None:
    assert faults_of(ask(make_transaction(1), make_transaction(2) | more)) == [(1, field)]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_amount_that_is_not_finite_is_rejected(literal: str) -> None:
    row = f'{{"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": {literal}}}'
    assert faults_of(f'{{"transactions": [{row}]}}'.encode()) == [(0, "TransactionAmt")]


@pytest.mark.parametrize("name", ["TransactionID", "TransactionDT", "TransactionAmt"])
def test_missing_required_field_is_reported(name: str) -> None:
    row = make_transaction()
    del row[name]
    assert faults_of(ask(row)) == [(0, name)]


def test_nan_in_an_optional_field_means_missing() -> None:
    row = '{"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3, "C1": NaN}'
    answer = predict(f'{{"transactions": [{row}]}}'.encode(), tiny_bundle())
    expected = predict(
        b'{"transactions": [{"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3}]}',
        tiny_bundle(),
    )
    assert answer.predictions == expected.predictions


def test_all_faults_of_a_request_are_reported() -> None:
    body = ask(make_transaction(1) | {"card1": "x", "y": 1}, 7, make_transaction(3))
    assert faults_of(body) == [(0, "card1"), (0, "y"), (1, None)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"{}", "transactions"),
        (b'{"transactions": {}}', "transactions"),
        (b'{"transactions": []}', "transactions"),
        (b'{"transactions": null}', "transactions"),
        (ask(make_transaction(), explain="lime"), "explain"),
        (ask(*[make_transaction()] * 11, explain="shap"), "explain"),
        (ask(make_transaction(), model="v1"), "model"),
    ],
)
def test_invalid_request_is_rejected_as_a_whole(body: bytes, field: str | None) -> None:
    assert faults_of(body) == [(None, field)]


@pytest.mark.parametrize(
    "body",
    [
        ask({f"x{i}": 0 for i in range(5000)}),
        ask(*[make_transaction() | {"x": 0}] * MAX_ROWS),
        ask(make_transaction(), **{f"x{i}": 0 for i in range(5000)}),
    ],
)
def test_number_of_reported_faults_is_limited(body: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        predict(body, tiny_bundle())
    assert len(caught.value.faults) == MAX_FAULTS
    assert caught.value.summary.endswith(" (and at least 99 more)")


def test_validation_of_names_stops_at_the_fault_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def shown(name: str) -> str:
        checked.append(name)
        return name

    monkeypatch.setattr("dashboard.predicting.shown_name", shown)
    faults_of(ask(make_transaction(), **{f"x{i}": 0 for i in range(5000)}))
    assert len(checked) == MAX_FAULTS


def test_summary_counts_the_other_faults() -> None:
    for names, summary in ((("x",), "'x'"), (("x", "y", "z"), "'x' (and 2 more)")):
        with pytest.raises(InvalidInput) as caught:
            predict(ask(make_transaction() | dict.fromkeys(names, 0)), tiny_bundle())
        assert caught.value.summary == f"row 0: unknown field {summary}"


@pytest.mark.parametrize("part", [b"{}", b"[[[]]]"])
def test_body_with_too_many_brackets_is_rejected_before_parsing(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"transactions":[' + b",".join([part] * (100 * MAX_ROWS)) + b"]}"
    monkeypatch.setattr("dashboard.predicting.parse_json", pytest.fail)
    assert faults_of(body) == [(None, None)]


def test_field_name_with_invalid_unicode_is_reported_with_a_replacement() -> None:
    body = b'{"transactions": [], "a\\ud800": NaN}'
    assert faults_of(body) == [(None, "a?"), (None, "transactions")]


def test_request_with_too_many_rows_is_rejected_without_decoding() -> None:
    with pytest.raises(TooManyRows):
        predict(ask(*[{}] * (MAX_ROWS + 1)), tiny_bundle())
