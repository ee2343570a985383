"""The pipeline: exactly one outcome for each polled record, whatever it contains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.framing import Header, Headers
from schemas.rejections import CUT_HEADER, OMITTED_HEADER, Stage
from schemas.scores.sampling import MAX_SHARE, SHARE_HEADER, choose
from schemas.transactions.codec import encode_transactions_json
from stream_scorer.errors import ArtifactCorrupt, RetryableError
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES, OUTPUT_MAX_BYTES
from stream_scorer.model.scoring import score
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.pipeline import trace
from stream_scorer.stream.ports import Outgoing
from tests.support.factories import make_batch, make_bundle
from tests.support.scoring_kit import (
    DLQ,
    NOW_MS,
    OUTPUT,
    make_pipeline,
    make_polled,
    make_value,
    make_values,
    raising,
    read_score,
)

POISON: dict[bytes | None, Stage] = {
    None: Stage.FRAMING,
    b"": Stage.FRAMING,
    b"hello": Stage.FRAMING,
    b"\x00\x00\x00": Stage.FRAMING,
    b"\x00\x00\x00\x00\x07abc": Stage.SCHEMA,
    b"\xc3\x01" + b"\x00" * 20: Stage.SCHEMA,
    b"[1]": Stage.DECODE,
    b'{"a"': Stage.DECODE,
    make_value()[:-3]: Stage.DECODE,
    make_value() + b"\x00": Stage.DECODE,
    b'{"TransactionID": 1, "TransactionDT": 1}': Stage.VALIDATE,
    b'{"TransactionID": 1, "TransactionDT": 1, "TransactionAmt": 1e999}': Stage.VALIDATE,
    b'{"TransactionID": "x", "TransactionDT": 1, "TransactionAmt": 1}': Stage.VALIDATE,
    make_value(amount=float("inf")): Stage.VALIDATE,
    make_value(amount=float("nan")): Stage.VALIDATE,
    b"{" + b" " * 2_000_000: Stage.FRAMING,
}


def process(values: list[bytes | None], **how: Any) -> Outcome:
    return make_pipeline().process(make_polled(values, **how), make_bundle(), NOW_MS)


def text_headers(record: Outgoing) -> dict[str, str]:
    return {name: v.decode() if isinstance(v, bytes) else str(v) for name, v in record.headers}


def test_one_outcome_for_each_record_in_order_with_its_partition_and_key() -> None:
    values = [*make_values(20), *POISON, *make_values(20, seed=6)]
    polled = make_polled(values)
    found = make_pipeline().process(polled, make_bundle(), NOW_MS)
    assert len(found.records) == len(values)
    assert [r.partition for r in found.records] == polled.partitions.tolist()
    assert [r.key for r in found.records] == list(polled.keys)
    topics = [DLQ if 20 <= i < 20 + len(POISON) else OUTPUT for i in range(len(values))]
    assert [r.topic for r in found.records] == topics
    assert found.scored == 40
    assert len(found.scores) == 40
    assert len(found.rejections) == len(POISON)


def sampled_rows(values: list[bytes | None], share: float) -> tuple[list[dict[str, Any]], Outcome]:
    found = make_pipeline(sample_share=share).process(make_polled(values), make_bundle(), NOW_MS)
    return [read_score(r.value) for r in found.records if r.topic == OUTPUT], found


def test_sampled_rows_are_unflagged_and_differ_in_nothing_but_context_and_mark() -> None:
    values = [*make_values(1500), *POISON]
    without, _ = sampled_rows(values, 0.0)
    scores, found = sampled_rows(values, MAX_SHARE)
    rows = [i for i, s in enumerate(scores) if s["is_sampled"]]
    assert found.sampled == len(rows) > 3
    polled = make_polled(values)
    chosen = choose(polled.topic, polled.partitions, polled.offsets, MAX_SHARE)[: len(scores)]
    assert rows == [i for i in np.flatnonzero(chosen).tolist() if not without[i]["is_flagged"]]
    for i, score_ in enumerate(scores):
        if i in rows:
            assert score_["context"]["TransactionAmt"] is not None
            assert score_["decision"] == "APPROVE"
            assert score_["reasons"] == []
            score_ |= {"is_sampled": False, "context": None}
        assert score_ == without[i]


def test_sampled_scores_state_their_share_and_others_do_not() -> None:
    _, found = sampled_rows(make_values(1500), 0.005)
    stated = [text_headers(r).get(SHARE_HEADER) for r in found.records]
    is_sampled = [read_score(r.value)["is_sampled"] for r in found.records]
    assert stated == ["0.005" if sampled else None for sampled in is_sampled]
    assert "model-version" in text_headers(found.records[is_sampled.index(True)])


def test_share_of_zero_gives_the_same_records_as_no_lane() -> None:
    values = make_values(300)
    found = sampled_rows(values, 0.0)[1]
    assert found.records == process(values).records
    assert found.sampled == 0
    assert all((r.value or b"")[-1:] == b"\x00" for r in found.records)


def test_score_has_its_source_coordinates_and_the_models_results() -> None:
    batch = make_batch(30, 5)
    found = process(make_values(30))
    expected = score(batch, make_bundle())
    for i, record in enumerate(found.records):
        value = read_score(record.value)
        assert value["transaction_id"] == i + 1
        assert value["score"] == expected.scores[i]
        assert value["decision"] == ("APPROVE", "REVIEW", "BLOCK")[expected.decisions[i]]
        assert value["is_flagged"] == bool(expected.flagged[i])
        assert value["source"] == {
            "topic": "transactions", "partition": i % 3, "offset": 100 + i // 3,
        }  # fmt: skip
        assert (value["model_version"], value["scored_at"]) == ("v1", NOW_MS)
        assert (value["review_threshold"], value["block_threshold"]) == (0.5, 0.9)
        reasons = [(r["feature"], r["value"], r["contribution"]) for r in value["reasons"]]
        assert reasons == [tuple(r) for r in expected.reasons.get(i, ())]
        assert (value["context"] is not None) == value["is_flagged"]
    assert found.flagged == int(expected.flagged.sum()) > 0
    assert sum(found.decisions.values()) == 30


def test_json_and_avro_give_the_same_score() -> None:
    batch = make_batch(10, 5)
    avro, json = process(make_values(10)), process(list(encode_transactions_json(batch)))
    assert [r.value for r in avro.records] == [r.value for r in json.records]


def test_score_carries_its_own_headers_and_the_trace() -> None:
    parent: Header = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    state: Header = ("tracestate", b"a=1")
    given: list[Headers] = [[("x", b"1"), parent, ("y", None), state], [parent], None, []]
    found = process(make_values(4), headers=given)
    own: list[Header] = [("model-version", b"v1"), ("content-type", b"avro/binary")]
    sent = [r.headers for r in found.records]
    assert sent == [[*own, parent, state], [*own, parent], own, own]


def test_trace_header_over_the_limit_is_dropped() -> None:
    parent: Header = ("traceparent", b"00-1-2-01")
    assert trace([parent, ("tracestate", b"x" * 1025)]) == [parent]
    assert trace([parent, ("tracestate", b"x" * 1024)]) == [parent, ("tracestate", b"x" * 1024)]
    assert trace([("traceparent", None)]) == [("traceparent", None)]
    assert len(trace([parent] * 1000)) == 2
    assert trace(None) == []


@pytest.mark.parametrize("index", range(len(POISON)))
def test_bad_record_becomes_a_dead_letter_and_its_neighbours_are_scored(index: int) -> None:
    value, stage = list(POISON.items())[index]
    found = process([make_value(1), value, make_value(3)])
    before, dead, after = found.records
    assert [read_score(r.value)["transaction_id"] for r in (before, after)] == [1, 3]
    assert (dead.topic, dead.partition, dead.key, dead.value) == (DLQ, 1, b"1001", value)
    headers = text_headers(dead)
    assert headers["__connect.errors.topic"] == "transactions"
    assert headers["__connect.errors.partition"] == "1"
    assert headers["__connect.errors.offset"] == "100"
    assert headers["__connect.errors.stage"] == stage.value
    assert headers["__connect.errors.exception.class.name"]
    assert 0 < len(headers["__connect.errors.exception.message"]) <= 500
    assert CUT_HEADER not in headers


def test_dead_letter_keeps_the_headers_and_a_missing_key_of_the_input() -> None:
    given: list[Header] = [("a", b"1"), ("a", None), ("tracestate", b"t" * 2000)]
    record = process([b"bad"], headers=[given], keys=[None]).records[0]
    assert record.key is None
    assert record.headers[:3] == given
    assert len(record.headers) == 9


def test_largest_record_the_input_topic_accepts_is_dead_lettered_whole() -> None:
    value = b"x" * (INPUT_MAX_BYTES - 200)
    record = process([value], headers=[[("h", b"y" * 100)]]).records[0]
    assert record.value == value
    assert CUT_HEADER not in text_headers(record)


def test_dead_letter_too_large_for_its_topic_is_truncated_and_marked() -> None:
    pipeline = make_pipeline(max_bytes={DLQ: 20_000})
    value = bytes(range(256)) * 100
    record = pipeline.process(make_polled([value]), make_bundle(), NOW_MS).records[0]
    assert text_headers(record)[CUT_HEADER] == str(len(value))
    assert record.value is not None
    assert value.startswith(record.value)
    assert 15_000 < len(record.value) < 20_000 - 4096
    assert size(record) <= 20_000 - 4096


def size(record: Outgoing) -> int:
    headers = sum(len(n) + len(v or b"") for n, v in record.headers)
    return headers + len(record.key or b"") + len(record.value or b"")


@pytest.mark.parametrize("limit", [10_000, OUTPUT_MAX_BYTES, 50_000_000])
def test_huge_headers_and_huge_keys_cannot_stall_a_partition(limit: int) -> None:
    pipeline = make_pipeline(max_bytes={DLQ: limit, OUTPUT: limit})
    huge = b"k" * (2 * OUTPUT_MAX_BYTES)
    for key, headers in ((huge, None), (b"1", [("h", huge)]), (huge, [("h", huge)]), (None, None)):
        for value in (huge, b"bad", None):
            polled = make_polled([value], keys=[key], headers=[headers])
            record = pipeline.process(polled, make_bundle(), NOW_MS).records[0]
            assert size(record) <= min(limit, OUTPUT_MAX_BYTES) - 4096
            assert text_headers(record)["__connect.errors.offset"] == "100"


def test_score_too_large_for_its_topic_is_a_dead_letter_of_the_publish_stage() -> None:
    pipeline = make_pipeline(max_bytes={OUTPUT: 10_000})
    key = b"9" * 8_000
    polled = make_polled(make_values(3), keys=[b"1", key, b"3"])
    found = pipeline.process(polled, make_bundle(), NOW_MS)
    assert [r.topic for r in found.records] == [OUTPUT, DLQ, OUTPUT]
    assert text_headers(found.records[1])["__connect.errors.stage"] == "publish"
    assert (found.records[1].key, found.records[1].value) == (key, polled.values[1])
    assert found.scored == 2


@pytest.mark.parametrize("guilty", [{0}, {12}, {6}, {0, 1, 11, 12}, set(range(13))])
def test_row_that_cannot_be_scored_is_isolated(guilty: set[int]) -> None:
    bundle = raising(make_bundle(), 666.0)
    values: list[bytes | None] = [
        make_value(i, amount=666.0 if i in guilty else 10.0 * i + 1) for i in range(13)
    ]
    found = make_pipeline().process(make_polled(values), bundle, NOW_MS)
    assert {i for i, r in enumerate(found.records) if r.topic == DLQ} == guilty
    for i, record in enumerate(found.records):
        if i in guilty:
            headers = text_headers(record)
            assert headers["__connect.errors.stage"] == "score"
            assert headers["__connect.errors.exception.message"] == (
                "ZeroDivisionError: marked amount"
            )
            assert record.value == values[i]
        else:
            alone = make_pipeline().process(make_polled([values[i]]), make_bundle(), NOW_MS)
            assert read_score(record.value)["score"] == read_score(alone.records[0].value)["score"]
            assert read_score(record.value)["transaction_id"] == i
    assert found.scored == len(found.scores) == 13 - len(guilty)
    assert sum(found.decisions.values()) == found.scored


@pytest.mark.parametrize("error", [ArtifactCorrupt("x"), MemoryError(), RetryableError("x")])
def test_error_that_is_not_a_records_fault_rejects_no_record(error: Exception) -> None:
    bundle = raising(make_bundle(), 666.0, error)
    with pytest.raises(type(error)):
        make_pipeline().process(make_polled([make_value(amount=666.0)]), bundle, NOW_MS)


def test_only_scored_at_depends_on_the_time() -> None:
    values = [*make_values(20), b"bad"]
    early = make_pipeline().process(make_polled(values), make_bundle(), 0)
    late = make_pipeline().process(make_polled(values), make_bundle(), NOW_MS)
    for a, b in zip(early.records, late.records, strict=True):
        assert (a.topic, a.partition, a.key, a.headers) == (b.topic, b.partition, b.key, b.headers)
        if a.topic == DLQ:
            assert a.value == b.value
        else:
            assert read_score(a.value) | {"scored_at": 0} == read_score(b.value) | {"scored_at": 0}


def test_score_does_not_depend_on_other_records_of_the_poll() -> None:
    values = [*make_values(12), b"bad", None]
    together = process(values)
    pipeline = make_pipeline()
    polled = make_polled(values)
    for i in (0, 5, 11, 12, 13):
        alone = replace(
            make_polled([values[i]], keys=[polled.keys[i]]),
            partitions=polled.partitions[i : i + 1],
            offsets=polled.offsets[i : i + 1],
        )
        assert pipeline.process(alone, make_bundle(), NOW_MS).records == [together.records[i]]


def test_batches_of_only_bad_and_only_good_records() -> None:
    for values in ([b"bad"] * 5, make_values(5), [b"bad"], make_values(1)):
        found = process(list(values))
        assert len(found.records) == len(values)
        assert found.scored + len(found.rejections) == len(values)


class _Down:
    """A registry that does not answer."""

    def by_id(self, schema_id: int) -> Any:
        raise RetryableError(f"no answer for {schema_id}")

    def by_guid(self, guid: bytes) -> Any:
        raise RetryableError(f"no answer for {guid.hex()}")

    def by_fingerprint(self, fingerprint: bytes) -> Any:
        raise RetryableError(f"no answer for {fingerprint.hex()}")


def test_nothing_is_decided_while_the_registry_does_not_answer() -> None:
    pipeline = make_pipeline(_Down())
    with pytest.raises(RetryableError):
        pipeline.process(make_polled([b"\x00\x00\x00\x00\x01x", b"bad"]), make_bundle(), NOW_MS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), st.integers(0, 9)), max_size=12))
def test_any_bytes_have_exactly_one_outcome(drawn: list[bytes | int | None]) -> None:
    good = make_values(10)
    values = [good[v] if isinstance(v, int) else v for v in drawn]
    polled = make_polled(values)
    found = make_pipeline().process(polled, make_bundle(), NOW_MS)
    assert len(found.records) == len(values)
    assert np.array_equal([r.partition for r in found.records], polled.partitions)
    for value, v, record in zip(values, drawn, found.records, strict=True):
        if isinstance(v, int):
            assert record.topic == OUTPUT
        elif record.topic == DLQ:
            assert record.value == value


def test_record_that_could_not_be_looked_at_is_dead_lettered_and_its_neighbours_are_scored() -> (
    None
):
    parent: Header = ("traceparent", b"00-1")
    polled = replace(
        make_polled([make_value(1), make_value(2), None], headers=[[parent], None, None]),
        faults={1: "the name of a header is not UTF-8", 2: "the value cannot be read"},
    )
    found = make_pipeline().process(polled, make_bundle(), NOW_MS)
    scored, dead, empty = found.records
    assert read_score(scored.value)["transaction_id"] == 1
    assert (dead.topic, dead.key, dead.value) == (DLQ, b"1001", make_value(2))
    headers = text_headers(dead)
    assert headers["__connect.errors.stage"] == "framing"
    assert headers["__connect.errors.exception.message"] == "the name of a header is not UTF-8"
    assert (headers["__connect.errors.partition"], headers["__connect.errors.offset"]) == (
        "1",
        "100",
    )
    assert headers[OMITTED_HEADER] == "the name of a header is not UTF-8"
    assert text_headers(empty)[OMITTED_HEADER] == "the value cannot be read"
    assert found.scored == 1
    assert [r.reason for r in found.rejections] == list(polled.faults.values())
    assert not any(r.is_tombstone for r in found.rejections)


def test_dead_letter_whose_headers_do_not_fit_says_that_they_were_left_out() -> None:
    large: list[Header] = [("a", b"x" * OUTPUT_MAX_BYTES)]
    record = process([b"bad"], headers=[large]).records[0]
    assert "a" not in text_headers(record)
    assert text_headers(record)[OMITTED_HEADER] == "they are too large"


def test_only_a_null_value_is_a_tombstone() -> None:
    found = process([None, b"", b"bad", make_value()])
    assert [r.is_tombstone for r in found.rejections] == [True, False, False]
