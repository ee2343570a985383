"""``/predict`` without HTTP: the same scores as the stream, and faults with row and field."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from typing import Any

import orjson
import pytest

from dashboard.predict_request import FIELD_RULE, MAX_PATH_ROWS
from dashboard.predicting import MAX_ROWS, InvalidInput, TooManyRows, predict
from schemas.batch import build_batch
from schemas.json.codec import MAX_FAULTS
from stream_scorer.errors import ArtifactIncompatible
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.scoring import score
from tests.support.dashboard_kit import make_transaction, tiny_bundle

MISSING = "transactions is missing"
HALF = "half of a character (a surrogate such as \\ud83d without its other half)"


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


@pytest.mark.parametrize("method", ["path", "shap"])
def test_explanation_adds_up_to_the_raw_score_and_the_score(method: str) -> None:
    bundle = tiny_bundle()
    rows = [make_transaction(i, amount=97.0 * i + 1, C13=float(4 * i)) for i in range(10)]
    answer = predict(ask(*rows, explain=method), bundle)
    expected = score(build_batch(rows), bundle)
    directions = set()
    for i, result in enumerate(answer.results):
        found = result["explanation"]
        pushes = [c["contribution"] for c in found["contributions"]]
        directions |= {push > 0 for push in pushes}
        total = math.fsum([found["base"], *pushes, found["rest"]])
        assert total == pytest.approx(found["raw_score"], abs=1e-12)
        assert found["raw_score"] == expected.raw[i]
        assert 1 / (1 + math.exp(-found["raw_score"])) == pytest.approx(result["score"], rel=1e-12)
        assert (found["method"], found["contributions"][0].keys()) == (
            method,
            {"feature", "value", "contribution"},
        )
        raised = [c for c in found["contributions"] if c["contribution"] > 0]
        assert [r for r in result["reasons"] if r["contribution"] >= 0.005] == raised[:5]
    assert directions == {True, False}
    assert answer.explain_rows > 0
    plain = predict(ask(*rows), bundle)
    assert plain.explain_rows == 0
    assert all("explanation" not in result for result in plain.results)


def test_model_that_cannot_be_explained_is_a_fault_of_the_request() -> None:
    def refuse(matrix: Any) -> Any:
        raise ArtifactIncompatible("cannot explain the model: it has linear trees")

    reference = LightGBMModel("")
    vars(reference)["contributions"] = refuse
    bundle = replace(tiny_bundle(), reference=reference)
    with pytest.raises(InvalidInput) as caught:
        predict(ask(make_transaction(), explain="shap"), bundle)
    assert caught.value.faults == (
        (None, "explain", "explain 'shap': cannot explain the model: it has linear trees"),
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", 'the body is an array: wrap it in an object, {"transactions": […]}'),
        (orjson.dumps([make_transaction()]),
         'the body is an array: wrap it in an object, {"transactions": […]}'),
        (orjson.dumps(make_transaction()),
         (f"{MISSING}: the body looks like one transaction; wrap it, " '{"transactions": [{…}]}')),
        (b'{"rows": []}', f'{MISSING}: send {{"transactions": [{{…}}]}}'),
        (b'"x"', 'the body is neither object nor array: send {"transactions": [{…}]}'),
        (b"null", 'the body is neither object nor array: send {"transactions": [{…}]}'),
        (b" \n", 'the body is empty: send {"transactions": [{…}]}'),
        (b'{"transactions": {}}', 'transactions must be an array: send {"transactions": [{…}]}'),
        (gzip.compress(b"{}", mtime=0),
         "the body is compressed with gzip: add the header Content-Encoding: gzip"),
        ('{"a": 1}'.encode("utf-16"), "the body is UTF-16: send UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "the body is UTF-16 or UTF-32: send UTF-8"),
        ('{"a": 1}'.encode("utf-16-be"), "the body is UTF-16: send UTF-8"),
        ('{"a": 1}'.encode("utf-32-be"), "the body is UTF-32: send UTF-8"),
        (b"\x28\xb5\x2f\xfd\x00", "the body is compressed with zstd: send gzip, or no compression"),
        (b'{"transactions": [{"ProductCD": "\\ud800"}]}',
         f"the body is not JSON: {HALF}: line 1 column 34 (char 33)"),
        (b"TransactionID=1&TransactionAmt=2",
         ("the body is not JSON: unexpected character, expected a JSON value: "
          "line 1 column 1 (char 0)")),
    ],
)  # fmt: skip
def test_wrong_body_is_told_what_it_is_and_how_to_fix_it(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        predict(body, tiny_bundle())
    assert [fault.reason for fault in caught.value.faults] == [reason]


def test_byte_order_mark_is_accepted() -> None:
    body = ask(make_transaction())
    bundle = tiny_bundle()
    assert predict(b"\xef\xbb\xbf" + body, bundle).predictions == predict(body, bundle).predictions


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("TransactionAmount", "TransactionAmt"),
        ("transactionamt", "TransactionAmt"),
        ("productCD", "ProductCD"),
        ("Card1", "card1"),
        ("P_email_domain", "P_emaildomain"),
        ("zzzzzzz", None),
    ],
)
def test_unknown_field_names_the_similar_one_and_the_rule(name: str, similar: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        predict(ask(make_transaction() | {name: 1}), tiny_bundle())
    hint = f": did you mean {similar}?" if similar else ""
    assert caught.value.faults[0].reason == f"unknown field {name!r}{hint}"
    assert caught.value.summary.endswith(
        "the stream ignores unknown fields; /predict refuses them, so that a misspelt name is "
        "noticed"
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1e308", None),
        ("-1e308", None),
        ("1e309", "row 0: TransactionAmt is infinite"),
        ("1" + "0" * 400, "row 0: TransactionAmt does not fit a double"),
        ("NaN", "row 0: TransactionAmt is missing"),
        ("null", "row 0: TransactionAmt is missing"),
        ('"12"', "row 0: TransactionAmt must be a number, not a string"),
    ],
)
@pytest.mark.parametrize("method", ["", ', "explain": "path"', ', "explain": "shap"'])
def test_extreme_amounts_get_a_score_or_a_clear_reason(
    value: str, reason: str | None, method: str
) -> None:
    row = f'{{"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": {value}}}'
    body = f'{{"transactions": [{row}]{method}}}'.encode()
    if reason is None:
        assert 0 <= predict(body, tiny_bundle()).predictions[0] <= 1
        return
    with pytest.raises(InvalidInput) as caught:
        predict(body, tiny_bundle())
    assert caught.value.summary == reason


def test_long_and_odd_texts_are_scored_and_shown_shortened() -> None:
    bundle = tiny_bundle()
    texts = ["x" * 4_000_000, "\u202e\0\U0001f600" * 10, "", " "]
    for text in texts:
        row = make_transaction() | {"DeviceInfo": text, "P_emaildomain": text}
        answer = predict(ask(row, explain="path"), bundle)
        assert 0 <= answer.predictions[0] <= 1
        assert len(orjson.dumps(answer.as_json())) < 20_000


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
        (ask(make_transaction(), explain=["shap"]), "explain"),
        (ask(make_transaction(), explain=True), "explain"),
        (ask(*[make_transaction()] * 11, explain="shap"), "explain"),
        (ask(*[make_transaction()] * (MAX_PATH_ROWS + 1), explain="path"), "explain"),
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
    assert " (and at least 99 more)" in caught.value.summary


def test_validation_of_names_stops_at_the_fault_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def shown(name: str) -> str:
        checked.append(name)
        return name

    monkeypatch.setattr("dashboard.predict_request.shown_name", shown)
    faults_of(ask(make_transaction(), **{f"x{i}": 0 for i in range(5000)}))
    assert len(checked) == MAX_FAULTS


def test_summary_counts_the_other_faults() -> None:
    for names, summary in ((("x",), "'x'"), (("x", "y", "z"), "'x' (and 2 more)")):
        with pytest.raises(InvalidInput) as caught:
            predict(ask(make_transaction() | dict.fromkeys(names, 0)), tiny_bundle())
        assert caught.value.summary == f"row 0: unknown field {summary}; {FIELD_RULE}"


@pytest.mark.parametrize("part", [b"{}", b"[[[]]]"])
def test_body_with_too_many_brackets_is_rejected_before_parsing(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"transactions":[' + b",".join([part] * (100 * MAX_ROWS)) + b"]}"
    monkeypatch.setattr("dashboard.predict_request.parse_json", pytest.fail)
    assert faults_of(body) == [(None, None)]


def test_field_name_with_invalid_unicode_is_reported_with_a_replacement() -> None:
    body = b'{"transactions": [], "a\\ud800": NaN}'
    assert faults_of(body) == [(None, "a?"), (None, "transactions")]


def test_request_with_too_many_rows_is_rejected_without_decoding() -> None:
    with pytest.raises(TooManyRows):
        predict(ask(*[{}] * (MAX_ROWS + 1)), tiny_bundle())
