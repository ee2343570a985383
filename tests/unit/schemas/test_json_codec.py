"""Transactions as JSON: the same rows as Avro, and every fault with its field."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import build_batch, concatenate, empty_batch
from schemas.contracts import TRANSACTION_COLUMNS
from schemas.json import number_kernel
from schemas.json.codec import MAX_FAULTS, decode_objects, parse_json
from schemas.json.kernel import NUMBER_KERNEL_SHA256, build_names, decode_json
from schemas.lookalikes import describe_bytes
from schemas.rejections import Rejection, Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import (
    Decoded,
    TransactionDecoder,
    encode_transactions,
    encode_transactions_json,
)
from tests.support.factories import make_batch, make_transaction, make_transactions
from tests.support.wire import FAST, same, transactions

BASE = '"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3.5'


def decode(*values: bytes | str | None) -> Decoded:
    data = [v.encode() if isinstance(v, str) else v for v in values]
    return TransactionDecoder(LocalSchemas()).decode(data, [None] * len(data))


def row(more: str) -> dict[str, Any]:
    decoded = decode("{" + BASE + ", " + more + "}")
    assert decoded.rejections == []
    return decoded.batch.row(0)


def fault(value: bytes | str) -> Rejection:
    """The rejection of a record between two valid ones."""
    good = "{" + BASE + "}"
    decoded = decode(good, value, good)
    assert decoded.kept.tolist() == [0, 2]
    assert same(decoded.batch, decode(good, good).batch)
    (rejection,) = decoded.rejections
    assert rejection.index == 1
    return rejection


def strict(*rows: object) -> list[tuple[int, str | None, str]]:
    _, _, rejections = decode_objects(rows, strict=True)
    assert all(r.stage in (Stage.VALIDATE, Stage.DECODE) for r in rejections)
    return [(r.index, r.field, r.reason) for r in rejections]


NUMBER = st.one_of(
    st.from_regex(
        r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
    ).filter(str.isascii),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda x: f"{x:.3f}"),
    st.integers(-(2**65), 2**65).map(str),
    st.sampled_from(
        ["-0", "-0.0", "0e9", "00", "-", "1.", ".5", "1e", "1e+", "+1", "0x1", "1e400"]
    ),
    st.sampled_from(["9007199254740992", "9007199254740993", "1e22", "1e23", "1.5E-22", "1e-23"]),
)
VALUE = st.one_of(
    NUMBER,
    NUMBER,
    st.sampled_from(["null", "true", "nul", "NaN", "{}", "[1]", '{"a": {"card1": 1}}']),
    st.sampled_from(['"visa"', '""', '"\\n"', '"\\u00e9"', '"é"', '"a\tb"', '"', '"\x7f"']),
)
NAME = st.sampled_from(
    [
        *("TransactionID", "TransactionDT", "TransactionAmt", "event_time", "card1", "card1"),
        *("card4", "V1", "V33", "id_01", "id-01", "id-12", "id_12", "R_emaildomain", "isFraud"),
        *("", "x", "V1V1V1V1", "V1\0", "id-xx", "card1 ", "more than 16 bytes", "é", "\\u0056"),
    ]
)
BLANK = st.sampled_from(["", "", "", " ", "\n\t", "\r", "\f"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Text of a transaction's object, possibly damaged."""
    pairs = [("TransactionID", "1"), ("TransactionDT", "2"), ("TransactionAmt", "3.5")]
    pairs += draw(st.lists(st.tuples(NAME, VALUE), max_size=4))
    pairs = draw(st.permutations(pairs[draw(st.sampled_from([0, 0, 0, 0, 1])) :]))
    gap = draw(BLANK)
    value = ("," + gap).join(f'"{name}"{gap}:{gap}{value}' for name, value in pairs)
    text = bytearray(("{" + gap + value + gap + "}" + draw(BLANK)).encode())
    if draw(st.integers(0, 3)) == 0:  # one broken byte
        text[draw(st.integers(1, len(text) - 1))] = draw(st.integers(0, 255))
    return bytes(text)


def read_alone(value: bytes) -> Decoded:
    """One record read by the full parser and reader."""
    try:
        found = decode_objects([parse_json(value)], strict=False)
    except ValueError as error:
        found = decode_objects([[]], strict=False)
        reason = f"not JSON: {error}"[:300] + describe_bytes(value)
        return Decoded(found.batch, found.kept, [Rejection(0, Stage.DECODE, reason)])
    return Decoded(found.batch, found.kept, found.rejections[:1])


@settings(FAST, max_examples=300)
@given(st.lists(objects(), min_size=1, max_size=4))
def test_compiled_reader_equals_the_full_reader(values: list[bytes]) -> None:
    alone = [read_alone(value) for value in values]
    decoded = decode(*values)
    expected = concatenate([one.batch for one in alone])
    assert same(decoded.batch, expected)
    assert decoded.kept.tolist() == [i for i, one in enumerate(alone) if not one.rejections]
    found = [(r.index, r.stage, r.field, r.reason) for r in decoded.rejections]
    assert found == [
        (i, r.stage, r.field, r.reason) for i, one in enumerate(alone) for r in one.rejections
    ]


def test_ordinary_records_are_read_by_the_compiled_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(value: bytes) -> object:
        raise AssertionError(f"not read: {value!r}")

    monkeypatch.setattr("schemas.transactions.codec.parse_json", refuse)
    batch = make_batch(30)
    texts = [json.dumps(batch.row(i)) for i in range(30)]
    assert same(decode(*texts).batch, batch)
    assert same(decode(*[t.replace('"id_', '"id-') for t in texts]).batch, batch)
    pretty = [json.dumps(json.loads(t), indent=2, sort_keys=True) for t in texts]
    assert same(decode(*pretty).batch, batch)
    assert row('"card1": 0.1234567890123456789, "card2": 1e-30')["card2"] == 1e-30


@FAST
@given(st.lists(transactions(), min_size=1, max_size=3))
def test_json_and_avro_give_the_same_rows(rows: list[dict[str, Any]]) -> None:
    batch = build_batch(rows)
    by_json, by_avro = decode(*encode_transactions_json(batch)), decode(*encode_transactions(batch))
    assert by_json.rejections == by_avro.rejections == []
    assert same(by_json.batch, batch)
    assert same(by_avro.batch, batch)


def test_formats_may_be_mixed_in_one_batch() -> None:
    batch = make_batch(6)
    avro, text = encode_transactions(batch), encode_transactions_json(batch)
    decoded = decode(text[0], avro[1], None, text[2], b"", avro[3], text[4], avro[5])
    assert decoded.kept.tolist() == [0, 1, 3, 5, 6, 7]
    assert same(decoded.batch, batch)


def test_objects_and_bytes_are_read_alike() -> None:
    rows = make_transactions(5)
    decoded = decode_objects(rows, strict=True)
    assert not decoded.rejections
    assert same(decoded.batch, decode(*[json.dumps(r) for r in rows]).batch)
    assert same(decoded.batch, build_batch(rows))


def test_encoded_json_leaves_missing_columns_out() -> None:
    (value,) = encode_transactions_json(build_batch([make_transaction(card1=None, card4="")]))
    assert json.loads(value) == {
        "TransactionID": 1,
        "TransactionDT": 86_460,
        "TransactionAmt": 50.0,
        "ProductCD": "W",
        "card4": "",
    }


def test_label_and_unknown_fields_are_ignored_on_the_topic() -> None:
    cells = row('"isFraud": 1, "nonsense": {"a": [1, {}]}, "id-xx": 3, "": null, "card1": 4')
    present = {name for name, value in cells.items() if value is not None}
    assert present == {"TransactionID", "TransactionDT", "TransactionAmt", "card1"}
    assert set(cells) == set(TRANSACTION_COLUMNS)


def test_hyphenated_identity_columns_are_read_under_their_own_names() -> None:
    cells = row('"id-01": -5, "id-12": "Found", "id-38": null, "id_02": 7')
    assert (cells["id_01"], cells["id_12"], cells["id_38"], cells["id_02"]) == (
        -5,
        "Found",
        None,
        7,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"id_01": 1, "id-01": 2', 2.0),
        ('"id-01": 2, "id_01": 1', 1.0),
        ('"id_01": 1, "id_01": 2', 2.0),
        ('"id_01": 1, "id-01": null', 1.0),
        ('"id_01": 1, "id-01": NaN', 1.0),
        ('"id-01": null, "id_01": 1', 1.0),
    ],
)
def test_last_of_repeated_fields_counts(text: str, value: float) -> None:
    assert row(text)["id_01"] == value


@pytest.mark.parametrize("missing", ["null", "NaN"])
@pytest.mark.parametrize("name", ["card1", "card4", "id-12", "id_01", "event_time", "isFraud"])
def test_null_and_nan_mean_missing_in_any_nullable_column(name: str, missing: str) -> None:
    cells = row(f'"{name}": {missing}')
    assert cells.get(name.replace("-", "_")) is None


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ('"TransactionID": 1, "TransactionDT": 2', "TransactionAmt", "is missing"),
        ('"TransactionID": 1, "TransactionAmt": 2', "TransactionDT", "is missing"),
        ('"TransactionDT": 1, "TransactionAmt": 2', "TransactionID", "is missing"),
        (BASE + ', "TransactionAmt": null', "TransactionAmt", "is missing"),
        (BASE + ', "TransactionID": null', "TransactionID", "is missing"),
        (BASE + ', "TransactionID": NaN', "TransactionID", "is missing"),
        (BASE + ', "TransactionID": true', "TransactionID", "must be an integer, not a boolean"),
        (BASE + ', "TransactionID": "1"', "TransactionID", "must be an integer, not a string"),
        (BASE + ', "TransactionID": 1.0', "TransactionID", "must be an integer, not a number"),
        (BASE + ', "TransactionID": Infinity', "TransactionID", "is infinite"),
        (BASE + f', "TransactionID": {2**63}', "TransactionID", "does not fit a 64-bit integer"),
        (BASE + f', "TransactionID": {2**64}', "TransactionID", "does not fit a 64-bit integer"),
        (BASE + f', "TransactionDT": {-(2**64)}', "TransactionDT", "does not fit a 64-bit"),
        (BASE + ', "TransactionDT": ' + "9" * 400, "TransactionDT", "does not fit a 64-bit"),
        (BASE + ', "event_time": "now"', "event_time", "must be an integer, not a string"),
        (BASE + ', "event_time": false', "event_time", "must be an integer, not a boolean"),
        (BASE + ', "card1": true', "card1", "must be a number, not a boolean"),
        (BASE + ', "card1": "13926"', "card1", "must be a number, not a string"),
        (BASE + ', "card1": [1]', "card1", "must be a number, not an array"),
        (BASE + ', "card1": {}', "card1", "must be a number, not an object"),
        (BASE + ', "id-01": "x"', "id_01", "must be a number, not a string"),
        (BASE + ', "id-12": 5', "id_12", "must be a string, not an integer"),
        (BASE + ', "card4": 1.5', "card4", "must be a string, not a number"),
        (BASE + ', "card4": false', "card4", "must be a string, not a boolean"),
        (BASE + ', "card1": Infinity', "card1", "is infinite"),
        (BASE + ', "card1": -Infinity', "card1", "is infinite"),
        (BASE + ', "card1": 1e400', "card1", "is infinite"),
        (BASE + ', "card1": ' + "9" * 400, "card1", "does not fit a double"),
        (BASE + ', "card1": NaN, "card4": "\\ud800"', "card4", "is not valid Unicode"),
        ('"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": NaN', "TransactionAmt", "miss"),
        (
            '"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 1e999',
            "TransactionAmt",
            "inf",
        ),
        ('"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": "3"', "TransactionAmt", "must"),
    ],
)
def test_wrong_values_are_refused_by_name(text: str, field: str, reason: str) -> None:
    rejection = fault("{" + text + "}")
    assert (rejection.stage, rejection.field) == (Stage.VALIDATE, field)
    assert rejection.reason.startswith(field)
    assert reason in rejection.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[]", "expected a JSON object, not an array"),
        ("[{}]", "expected a JSON object, not an array"),
        ('"text"', "expected a JSON object, not a string"),
        ("12", "expected a JSON object, not an integer"),
        ("1.5", "expected a JSON object, not a number"),
        ("true", "expected a JSON object, not a boolean"),
        ("null", "expected a JSON object, not null"),
        ("{", "not JSON"),
        ("{}{}", "not JSON"),
        ("   ", "not JSON"),
        ("{" + BASE + ",}", "not JSON"),
        ("{" + BASE + ', "x": 01}', "not JSON"),
        ("{" + BASE + ', "x": "\\ud800"}', "not JSON"),
        (b'{"x": "\xff"}', "not JSON"),
        (b'{"x": "\xff", "y": NaN}', "not JSON"),
        (b'{"x": "\xed\xa0\x80"}', "not JSON"),
        ('{"x":' * 3000 + "1" + "}" * 3000, "not JSON"),
        ('{"y": NaN, "x":' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON: nested too deeply"),
        ('{"y": NaN, "x":' + '{"x":' * 50_000, "not JSON"),
        ('{"x": ' + "9" * 10_000 + "}", "not JSON"),
    ],
)
def test_value_that_is_not_a_json_object_is_refused_in_decoding(
    value: bytes | str, reason: str
) -> None:
    rejection = fault(value)
    assert (rejection.stage, rejection.field) == (Stage.DECODE, None)
    assert rejection.reason.startswith(reason)
    assert len(rejection.reason) <= 300


def test_nesting_in_ignored_fields_is_allowed() -> None:
    assert row('"x": ' + "[" * 500 + "]" * 500 + ', "y": NaN, "card1": 5')["card1"] == 5


def test_nan_among_many_rows_is_accepted() -> None:
    body = json.dumps({"transactions": [{"card1": float("nan")}] * 500}).encode()
    parsed = parse_json(body)
    assert isinstance(parsed, dict)
    assert len(parsed["transactions"]) == 500


def test_record_on_the_topic_reports_only_its_first_fault() -> None:
    assert fault("{}").field == "TransactionID"


def test_strict_names_every_fault_of_every_row() -> None:
    huge = 10**400
    assert strict(
        make_transaction(),
        {"TransactionID": "x", "TransactionDT": 1, "card1": True, "card4": 4, "nope": 1},
        "text",
        make_transaction(card1=float("inf"), card2=float("-inf"), card3=huge),
    ) == [
        (1, "TransactionID", "TransactionID must be an integer, not a string"),
        (1, "card1", "card1 must be a number, not a boolean"),
        (1, "card4", "card4 must be a string, not an integer"),
        (1, "nope", "unknown field 'nope'"),
        (1, "TransactionAmt", "TransactionAmt is missing"),
        (2, None, "expected a JSON object, not a string"),
        (3, "card1", "card1 is infinite"),
        (3, "card2", "card2 is infinite"),
        (3, "card3", "card3 does not fit a double"),
    ]


def test_strict_refuses_unknown_fields_whatever_their_value() -> None:
    names = [
        f for _, f, _ in strict(make_transaction() | {"a": None, "b": 1, "id-99": 1, "id-": None})
    ]
    assert names == ["a", "b", "id-99", "id-"]
    long = strict(make_transaction(**{"x" * 500: 1}))[0]
    assert long[1] == "x" * 40 + "…"


def test_names_of_unknown_fields_can_be_encoded() -> None:
    _, field, reason = strict(make_transaction(**{"bad\ud800name": 1}))[0]
    assert field == "bad?name"
    assert reason.encode("utf-8")


def test_strict_takes_the_label_aliases_and_nulls() -> None:
    rows = [make_transaction(isFraud=1, event_time=None) | {"id-01": 1, "id-12": None}]
    assert strict(*rows) == []


def test_rows_without_fault_are_kept() -> None:
    rows = make_transactions(4)
    decoded = decode_objects([rows[0], {}, rows[2], {"card1": []}], strict=True)
    assert decoded.kept.tolist() == [0, 2]
    assert same(decoded.batch, build_batch([rows[0], rows[2]]))
    assert {r.index for r in decoded.rejections} == {1, 3}


def test_all_records_invalid_and_no_records() -> None:
    assert len(decode("{}", None).batch) == 0
    empty = decode()
    assert (len(empty.batch), empty.kept.tolist(), empty.rejections) == (0, [], [])
    assert len(decode_objects([], strict=True).batch) == 0


class Watched(dict[str, Any]):
    """A row that counts how many of its fields are read."""

    looked = 0

    def items(self) -> Any:
        for pair in super().items():
            self.looked += 1
            yield pair


def test_strict_reading_stops_at_the_maximum_number_of_faults() -> None:
    rows = [Watched({f"x{i}": 0 for i in range(n)}) for n in (60, 100_000, 5)]
    decoded = decode_objects(rows, strict=True)
    assert len(decoded.rejections) == MAX_FAULTS
    assert [row.looked for row in rows] == [60, MAX_FAULTS - 63, 0]
    assert {r.index for r in decoded.rejections} == {0, 1}
    assert len(decoded.batch) == len(decoded.kept) == 0
    good = make_transactions(1)[0]
    decoded = decode_objects([good, *[7] * MAX_FAULTS, good], strict=True)
    assert len(decoded.rejections) == MAX_FAULTS
    assert decoded.kept.tolist() == [0]


def test_reading_one_record_stops_there_too_and_the_next_record_is_read() -> None:
    good = make_transactions(1)[0]
    bad = Watched({f"V{i}": "x" for i in range(1, 300)})
    decoded = decode_objects([bad, good, bad], strict=False)
    assert len(decoded.rejections) == 2 * MAX_FAULTS
    assert bad.looked == 2 * MAX_FAULTS
    assert decoded.kept.tolist() == [1]


def kernel_row(record: bytes, behind: bytes) -> dict[str, Any]:
    """What the compiled loop writes for a record that it does not read, with others after it."""
    batch, wholes = empty_batch(1), np.full((3, 1), -1, np.int64)
    is_read = np.ones(1, np.bool_)
    decode_json(
        np.frombuffer(record + behind + bytes(64), np.uint8),
        np.array([0]),
        np.array([len(record)]),
        np.array([0]),
        build_names({"C1": 0, "TransactionAmt": 1, "card4": 2, "TransactionID": 3}),
        1,
        wholes,
        batch.numbers[:, :2],
        batch.starts[:, :1],
        batch.lengths[:, :1],
        np.empty((9, 4), np.int64),
        is_read,
    )
    assert not is_read[0]
    return {
        "numbers": batch.numbers[0, :2].tolist(),
        "length": int(batch.lengths[0, 0]),
        "id": int(wholes[0, 0]),
    }


@pytest.mark.parametrize(
    "record",
    [
        b" ",
        b" \t\r\n" * 9,
        b"{",
        b'{"C1"',
        b'{"C1":',
        b'{"C1": ',
        b'{"C1":1,"TransactionAmt" : ',
        b'{"C1":1,"TransactionAmt":2 ',
        b'{"C1":1, ',
    ],
)
def test_blanks_at_a_records_end_are_not_read_into_the_next_record(record: bytes) -> None:
    """Otherwise each record of a batch of blank records would be read to the batch's end."""
    found = [
        kernel_row(record, b" " * 20 + rest)
        for rest in (b"", b'{"C1":7,"TransactionAmt":8,"card4":"x","TransactionID":9}',
                     b':7,"TransactionAmt":8,"card4":"x","TransactionID":9}',
                     b'7,"TransactionAmt":8,"card4":"x","TransactionID":9}',
                     b'"TransactionAmt":8,"card4":"x","TransactionID":9}',
                     b',"card4":"x","TransactionID":9}')
    ]  # fmt: skip
    assert str(found[1:]) == str(found[:1] * 5)


def test_batch_of_blank_records_takes_no_longer_than_others() -> None:
    started = time.process_time()
    decoded = decode(*[b" " * 10_000] * 2000)
    assert len(decoded.rejections) == 2000
    assert time.process_time() - started < 4.0  # many times longer, if read to its end


def test_json_kernel_names_the_number_kernel_it_was_compiled_with() -> None:
    digest = hashlib.sha256(Path(number_kernel.__file__).read_bytes()).hexdigest()
    assert digest == NUMBER_KERNEL_SHA256, "put this digest into kernel.py, or stale code is used"
