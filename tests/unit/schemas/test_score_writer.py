"""Scores, a batch at a time: the reference encoder's bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import build_batch
from schemas.contracts import known_schemas, load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.records import decode_record, encode_record
from schemas.scores.writer import ReasonLike, encode_scores, varint
from tests.support.factories import make_transaction
from tests.support.wire import FAST, FINITE, INT64, transactions, write_body

DECISIONS = ("APPROVE", "REVIEW", "BLOCK")
MARK = schema_fingerprint(load_schema("fraud_score"))
CONTEXT = next(f for f in load_schema("fraud_score")["fields"] if f["name"] == "context")
CONTEXT_FIELDS = [f["name"] for f in CONTEXT["type"][1]["fields"]]

contexts = st.fixed_dictionaries(
    {},
    optional={
        "ProductCD": st.text(max_size=5),
        "card1": FINITE,
        "card4": st.text(max_size=5),
        "addr2": FINITE,
        "R_emaildomain": st.just(""),
        "DeviceInfo": st.text(max_size=200),
    },
)
reasons = st.lists(
    st.tuples(st.text(max_size=9), st.none() | st.text(max_size=9), FINITE), max_size=5
)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    rows = [
        draw(transactions(max_columns=2)) | draw(contexts) for _ in range(draw(st.integers(1, 4)))
    ]
    decisions = [draw(st.integers(0, 2)) for _ in rows]
    return {
        "rows": rows,
        "decisions": decisions,
        "scores": [draw(FINITE) for _ in rows],
        "reasons": {i: draw(reasons) for i, d in enumerate(decisions) if d},
        "thresholds": (draw(FINITE), draw(FINITE)),
        "version": draw(st.sampled_from(["v1", "v12345", "vé"])),
        "scored_at": draw(INT64),
        "topic": draw(st.sampled_from(["t", "transactions", "thème-" + "x" * 200])),
        "partitions": [draw(st.integers(0, 2**31 - 1)) for _ in rows],
        "offsets": [draw(st.integers(0, 2**63 - 1)) for _ in rows],
        "sampled": [d == 0 and draw(st.booleans()) for d in decisions],
    }


def write(case: dict[str, Any], schema_id: int | None) -> list[bytes]:
    return encode_scores(
        prefix(MARK, schema_id),
        build_batch(case["rows"]),
        np.array(case["scores"], np.float64),
        np.array(case["decisions"], np.uint8),
        case["reasons"],
        case["thresholds"],
        case["version"],
        case["scored_at"],
        case["topic"],
        np.array(case["partitions"], np.int32),
        np.array(case["offsets"], np.int64),
        np.array(case["sampled"], np.bool_) if any(case["sampled"]) else None,
    )


def expected(case: dict[str, Any], i: int) -> dict[str, Any]:
    row, decision = build_batch([case["rows"][i]]).row(0), case["decisions"][i]
    is_sampled = case["sampled"][i]
    why: list[ReasonLike] = case["reasons"].get(i, [])
    return {
        "transaction_id": row["TransactionID"],
        "score": case["scores"][i],
        "decision": DECISIONS[decision],
        "is_flagged": decision != 0,
        "review_threshold": case["thresholds"][0],
        "block_threshold": case["thresholds"][1],
        "model_version": case["version"],
        "scored_at": case["scored_at"],
        "event_time": row["event_time"],
        "reasons": [{"feature": f, "value": v, "contribution": c} for f, v, c in why],
        "source": {
            "topic": case["topic"],
            "partition": case["partitions"][i],
            "offset": case["offsets"][i],
        },
        "context": {name: row[name] for name in CONTEXT_FIELDS} if decision or is_sampled else None,
        "is_sampled": is_sampled,
    }


@FAST
@given(cases(), st.none() | st.integers(0, 2**31 - 1))
def test_scores_equal_the_reference_encoders_bytes(
    case: dict[str, Any], schema_id: int | None
) -> None:
    n = len(case["rows"])
    records = [expected(case, i) for i in range(n)]
    assert write(case, schema_id) == [encode_record("fraud_score", r, schema_id) for r in records]


def case_of(decisions: list[int], **changes: Any) -> dict[str, Any]:
    n = len(decisions)
    return {
        "rows": [make_transaction(i, card1=float(i), event_time=i or None) for i in range(n)],
        "decisions": decisions,
        "scores": [i / n for i in range(n)],
        "reasons": {i: [("C1", str(i), 0.5)] for i, d in enumerate(decisions) if d},
        "thresholds": (0.5, 0.9),
        "version": "v3",
        "scored_at": 1,
        "topic": "transactions",
        "partitions": list(range(n)),
        "offsets": list(range(n)),
        "sampled": [False] * n,
    } | changes


def test_flagged_among_others_carry_their_own_reasons_and_context() -> None:
    case = case_of([0, 2, 0, 1, 1, 0])
    found = [decode_record("fraud_score", value) for value in write(case, None)]
    assert found == [expected(case, i) for i in range(6)]
    assert [bool(r["context"]) for r in found] == [False, True, False, True, True, False]
    assert [r["context"]["card1"] for r in found if r["context"]] == [1.0, 3.0, 4.0]


def test_sampled_have_a_context_and_no_reasons() -> None:
    case = case_of([0, 2, 0, 0], sampled=[True, False, False, True])
    found = [decode_record("fraud_score", value) for value in write(case, None)]
    assert found == [expected(case, i) for i in range(4)]
    assert [r["is_sampled"] for r in found] == [True, False, False, True]
    assert [bool(r["context"]) for r in found] == [True, True, False, True]
    assert [len(r["reasons"]) for r in found] == [0, 1, 0, 0]


def test_scores_without_samples_are_the_earlier_schemas_bytes_and_one_more() -> None:
    """The field is the last one, so that a share of 0 adds one zero byte and changes none."""
    case = case_of([0, 2, 1])
    old = next(s for m, s in known_schemas("fraud_score").items() if m != MARK)
    bodies = [write_body(old, expected(case, i)) for i in range(3)]
    assert [value[10:] for value in write(case, None)] == [body + b"\x00" for body in bodies]


def test_flagged_without_reasons_still_has_its_context() -> None:
    case = case_of([1, 1], reasons={0: [], 1: [("C1", None, 1.0)]})
    found = [decode_record("fraud_score", value) for value in write(case, None)]
    assert [r["reasons"] for r in found] == [
        [],
        [{"feature": "C1", "value": None, "contribution": 1}],
    ]
    assert all(r["context"] for r in found)


def test_order_of_the_reasons_mapping_does_not_matter() -> None:
    case = case_of([1, 2, 1])
    backwards = case | {"reasons": dict(reversed(case["reasons"].items()))}
    assert write(backwards, None) == write(case, None)


def test_each_score_is_the_same_alone_and_in_its_batch() -> None:
    case = case_of([0, 2, 0, 1])
    together = write(case, 7)
    for i in range(4):
        alone = {k: [v[i]] if isinstance(v, list) else v for k, v in case.items() if k != "reasons"}
        alone["reasons"] = {0: case["reasons"][i]} if i in case["reasons"] else {}
        assert write(alone, 7) == [together[i]]


def test_largest_values_of_every_field_fit() -> None:
    big = make_transaction(2**63 - 1, event_time=2**63 - 1, DeviceInfo="é" * 100_000)
    big["TransactionDT"] = -(2**63)
    case = case_of([2] * 3, rows=[big] * 3, scored_at=-(2**63), partitions=[2**31 - 1] * 3)
    case |= {"offsets": [2**63 - 1] * 3, "reasons": {i: [("é" * 9999, "x", 1.0)] for i in range(3)}}
    found = [decode_record("fraud_score", value) for value in write(case, None)]
    assert found == [expected(case, i) for i in range(3)]


def test_no_rows_no_scores() -> None:
    assert write(case_of([], rows=[], reasons={}), None) == []


@pytest.mark.parametrize(
    ("value", "data"),
    [
        # The first seven: Avro specification, "Binary Encoding".
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (-2, "03"),
        (2, "04"),
        (-64, "7f"),
        (64, "8001"),
        (2**63 - 1, "feffffffffffffffff01"),
        (-(2**63), "ffffffffffffffffff01"),
    ],
)
def test_varint(value: int, data: str) -> None:
    assert varint(value) == bytes.fromhex(data)
