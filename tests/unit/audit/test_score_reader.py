"""Source coordinates of scores: the compiled reader against the reference decoder."""

from __future__ import annotations

import copy
import io
import random
from typing import Any

import fastavro
import numpy as np
import pytest

from schemas.contracts import AvroSchema, known_schemas, load_schema
from schemas.records import UndecodableRecord, encode_record
from schemas.resolver import LocalSchemas, UnknownSchema
from schemas.scores.program import build_program
from schemas.scores.sampling import MAX_SHARE, choose
from schemas.writer_schema import parse_writer
from stream_scorer.audit.records.columns import Mark
from stream_scorer.audit.records.score_facts import SourceCoordinates
from stream_scorer.audit.records.score_reader import ScoreReader, SourceColumns
from tests.support.factories import make_score

TOPIC = "transactions"


def score(offset: int, **changes: Any) -> dict[str, Any]:
    return make_score(TOPIC, 3, offset, **changes)


def score_value(offset: int, **changes: Any) -> bytes:
    return encode_record("fraud_score", score(offset, **changes))


def flagged(offset: int, rng: random.Random) -> bytes:
    reasons = [
        {"feature": f"f{i}", "value": rng.choice([None, "é" * i]), "contribution": rng.random()}
        for i in range(rng.randrange(6))
    ]
    context = {"TransactionDT": offset, "ProductCD": "W", "card1": rng.choice([None, 1.0])}
    return score_value(
        offset,
        event_time=rng.choice([None, 2**45]),
        reasons=reasons,
        context=rng.choice([None, context]),
        model_version=f"v{offset // 3}",
    )


def reader() -> ScoreReader:
    return ScoreReader(LocalSchemas("fraud_score"), TOPIC)


def rows(found: SourceColumns, of: ScoreReader) -> list[tuple[int, int, str] | None]:
    names = of.version_names
    return [
        (partition, offset, names[version]) if is_readable else None
        for partition, offset, version, is_readable in zip(
            found.partitions.tolist(),
            found.offsets.tolist(),
            found.versions.tolist(),
            found.is_readable.tolist(),
            strict=True,
        )
    ]


def test_source_of_a_score_is_read_repeatedly() -> None:
    found = [reader().source(score_value(offset)) for offset in (5, 2**40)]
    assert found == [SourceCoordinates(TOPIC, 3, 5), SourceCoordinates(TOPIC, 3, 2**40)]


NOT_SCORES = [
    None, b"", b"{}", b"\x00\x00\x00\x00\x07abc", b"\xc3\x01" + b"x" * 8, score_value(5)[:-3],
    score_value(5)[:12],
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_SCORES)
def test_value_that_is_not_a_score_is_refused(value: bytes | None) -> None:
    with pytest.raises(UndecodableRecord):
        reader().source(value)


def test_scores_flagged_or_not_are_read_as_the_reference_decoder_does() -> None:
    rng = random.Random(1)
    offsets = [rng.randrange(2 ** rng.randrange(1, 62)) for _ in range(300)]
    one = reader()
    found = rows(one.sources([flagged(offset, rng) for offset in offsets]), one)
    assert found == [(3, offset, f"v{offset // 3}") for offset in offsets]


def test_value_that_is_not_a_score_does_not_affect_its_neighbours() -> None:
    values = [score_value(0), *NOT_SCORES, score_value(1)]
    one = reader()
    assert rows(one.sources(values), one) == [(3, 0, "v1"), *[None] * len(NOT_SCORES), (3, 1, "v1")]
    assert len(one.sources([]).offsets) == 0


def test_score_of_another_topic_or_of_impossible_coordinates_has_no_source() -> None:
    sources = [("elsewhere", 3, 1), (TOPIC + "x", 3, 1), (TOPIC, -1, 1), (TOPIC, 3, -1)]
    values = [
        score_value(0, source={"topic": t, "partition": p, "offset": o}) for t, p, o in sources
    ]
    one = reader()
    assert rows(one.sources(values), one) == [(-1, -1, "v1")] * 4


def test_damaged_scores_are_judged_as_the_reference_decoder_judges_them() -> None:
    rng = random.Random(2)
    values = []
    for offset in range(2000):
        damaged = bytearray(flagged(offset, rng))
        for _ in range(rng.randrange(3)):
            damaged[rng.randrange(10, len(damaged))] = rng.randrange(256)
        end = len(damaged) if rng.random() < 0.8 else rng.randrange(10, len(damaged))
        values.append(bytes(damaged[:end]))
    one = reader()
    found = one.sources(values)
    seen = 0
    for value, row in zip(values, rows(found, one), strict=True):
        try:
            source = one.source(value)
        except UndecodableRecord:
            continue  # the compiled reader does not check the fields it skips
        assert row is not None, value.hex()
        if source.topic == TOPIC and source.partition >= 0 and source.offset >= 0:
            assert row[:2] == (source.partition, source.offset)
            seen += 1
        else:
            assert row[:2] == (-1, -1)
    assert seen > 100


class Registry:
    """Schemas by id."""

    def __init__(self, *schemas: AvroSchema) -> None:
        self._schemas = schemas

    def by_id(self, schema_id: int) -> AvroSchema:
        try:
            return self._schemas[schema_id]
        except IndexError:
            raise UnknownSchema(f"schema id {schema_id}") from None

    def by_guid(self, guid: bytes) -> AvroSchema:
        raise UnknownSchema(f"GUID {guid.hex()}")

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        raise UnknownSchema(f"fingerprint {fingerprint.hex()}")


def field(name: str, avro_type: Any) -> dict[str, Any]:
    return {"name": name, "type": avro_type}


SOURCE = {
    "type": "record",
    "name": "Source",
    "fields": [field("offset", "long"), field("partition", "int"), field("topic", "string")],
}
DECISION = {"type": "enum", "name": "Decision", "symbols": ["APPROVE", "REVIEW", "BLOCK"]}
NESTED: dict[str, Any] = {
    "type": "record",
    "name": "Later",
    "fields": [
        field("tags", {"type": "map", "values": {"type": "array", "items": "string"}}),
        field("digest", {"type": "fixed", "name": "Digest", "size": 4}),
        field("again", ["null", "Digest"]),
        field("source", SOURCE),
        field("model_version", "string"),
        field("score", "double"),
        field("review_threshold", "double"),
        field("block_threshold", "double"),
        field("is_flagged", "boolean"),
        field("transaction_id", "int"),
        field("decision", DECISION),
    ],
}
CONTENT = {"score": 0.7, "review_threshold": 0.6, "block_threshold": 0.9, "is_flagged": True,
           "transaction_id": 70, "decision": "REVIEW"}  # fmt: skip
UNUSUAL = {
    "type": "record",
    "name": "Unusual",
    "fields": [field("source", ["null", SOURCE]), field("model_version", "string")],
}


def framed(schema_id: int, schema: Any, value: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), value)
    return b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()


def test_scores_of_several_writers_are_read_each_by_its_own_schema() -> None:
    place = {"topic": TOPIC, "partition": 1, "offset": 8}
    nested = {"tags": {"a": ["b", "c"], "d": []}, "digest": b"abcd", "again": b"efgh",
              "source": place, "model_version": "v5"} | CONTENT  # fmt: skip
    values = [
        framed(0, NESTED, nested),
        framed(1, UNUSUAL, {"source": place, "model_version": "v6"}),
        framed(2, load_schema("fraud_score"), score(4)),
        framed(0, NESTED, nested | {"tags": {}, "again": None}),
        framed(3, NESTED, nested),
        framed(1, UNUSUAL, {"source": None, "model_version": "v6"}),
    ]
    one = ScoreReader(Registry(NESTED, UNUSUAL, load_schema("fraud_score")), TOPIC)
    expected = [(1, 8, "v5"), (1, 8, "v6"), (3, 4, "v1"), (1, 8, "v5"), None, None]
    assert rows(one.sources(values), one) == expected


def content(values: list[bytes], *schemas: AvroSchema) -> list[tuple[int, bool]]:
    found = ScoreReader(Registry(*schemas), TOPIC).sources(values)
    is_plausible = found.marks & Mark.IMPLAUSIBLE == 0
    return list(zip(found.transactions.tolist(), is_plausible.tolist(), strict=True))


OWN = load_schema("fraud_score")
FLAGGED = {"is_flagged": True, "decision": "REVIEW"}
BLOCKED = {"is_flagged": True, "decision": "BLOCK"}
REORDERED = copy.deepcopy(NESTED)
REORDERED["fields"][-1]["type"]["symbols"] = ["BLOCK", "APPROVE", "REVIEW"]
SAMPLED_REORDERED = copy.deepcopy(OWN)  # so that the reference decoder reads it
SAMPLED_REORDERED["fields"][2]["type"]["symbols"] = ["BLOCK", "APPROVE", "REVIEW"]


@pytest.mark.parametrize(
    ("changes", "is_plausible"),
    [
        ({}, True),
        ({"score": 0.0}, True),
        ({"score": 1.0, **BLOCKED}, True),
        ({"score": 0.5, **FLAGGED}, True),
        ({"score": 0.9, **BLOCKED}, True),
        ({"review_threshold": 1.5, "block_threshold": 2.0}, True),  # never
        ({"score": 0.5, "review_threshold": 0.0, "block_threshold": 0.0, **BLOCKED}, True),
        ({"score": 0.8, "review_threshold": 0.9, "block_threshold": 0.7, **BLOCKED}, False),
        ({"review_threshold": float("nan")}, False),
        ({"block_threshold": float("nan")}, False),
        ({"block_threshold": float("inf")}, False),
        ({"review_threshold": 7.5, "block_threshold": 9.0}, False),
        ({"review_threshold": -1.0, **FLAGGED}, False),
        ({"score": 7.5, **BLOCKED}, False),
        ({"score": -1e-9}, False),
        ({"score": float("nan")}, False),
        ({"score": 0.5}, False),
        ({"score": 0.9, **FLAGGED}, False),
        ({"score": 0.49, **FLAGGED}, False),
        ({"is_flagged": True}, False),
        ({"score": 0.6, "decision": "REVIEW"}, False),
    ],
)
def test_score_has_to_be_consistent_with_its_own_decision(
    changes: dict[str, Any], is_plausible: bool
) -> None:
    fields = score(1, transaction_id=2**60 + 1, **changes)
    values = [framed(0, OWN, fields), framed(0, OWN, score(2, transaction_id=-5))]
    assert content(values, OWN) == [(2**60 + 1, is_plausible), (-5, True)]
    place = {"tags": {}, "digest": b"abcd", "again": None, **fields}
    assert build_program(parse_writer(REORDERED)) is None  # so the reference decoder reads it
    assert content([framed(0, REORDERED, place | {"transaction_id": 8})], REORDERED) == [
        (8, is_plausible)
    ]


def sampled_offset(is_eligible: bool) -> int:
    offsets = np.arange(10_000)
    chosen = choose(TOPIC, np.full(10_000, 3), offsets, MAX_SHARE)
    return int(offsets[chosen == is_eligible][0])


SAMPLED = {"is_sampled": True, "context": {"card1": 1.0}}


@pytest.mark.parametrize(
    ("is_eligible", "changes", "is_plausible"),
    [
        (True, SAMPLED, True),
        (True, SAMPLED | {"context": None}, False),
        (True, {"context": {"card1": 1.0}}, False),
        (True, SAMPLED | {"score": 0.5, **FLAGGED}, False),
        (True, SAMPLED | {"reasons": [{"feature": "a", "value": None, "contribution": 1}]}, False),
        (False, SAMPLED, False),  # the hash never chooses it
    ],
)
def test_sampled_score_is_one_that_the_random_lane_can_have_chosen(
    is_eligible: bool, changes: dict[str, Any], is_plausible: bool
) -> None:
    fields = score(sampled_offset(is_eligible), **changes)
    assert content([framed(0, OWN, fields)], OWN) == [(1, is_plausible)]
    place = {"tags": {}, "digest": b"abcd", "again": None, **fields}
    assert content([framed(0, SAMPLED_REORDERED, place)], SAMPLED_REORDERED) == [(1, is_plausible)]


def test_score_of_the_earlier_schema_is_read_by_the_compiled_loop() -> None:
    old = next(s for s in known_schemas("fraud_score").values() if s != OWN)
    assert build_program(parse_writer(old)) is not None
    fields = score(1, context={"card1": 1.0}, score=0.5, **FLAGGED)
    both = [framed(0, old, fields), framed(1, OWN, fields), framed(0, old, score(4))]
    assert content(both, old, OWN) == [(1, True)] * 3


def test_score_without_a_decision_is_not_plausible() -> None:
    place = {"topic": TOPIC, "partition": 1, "offset": 8}
    value = framed(0, UNUSUAL, {"source": place, "model_version": "v6"})
    assert content([value], UNUSUAL) == [(0, False)]


def test_score_truncated_anywhere_is_not_read() -> None:
    value, one = score_value(5), reader()
    found = one.sources([value[:size] for size in range(len(value) + 1)])
    assert np.flatnonzero(found.is_readable).tolist() == [len(value)]


def test_schema_with_an_unusual_source_field_has_no_compiled_program() -> None:
    assert build_program(parse_writer(NESTED)) is not None
    assert build_program(parse_writer(UNUSUAL)) is None
    assert build_program(parse_writer({"type": "record", "name": "Empty", "fields": []})) is None


def test_blocks_with_a_byte_size_are_skipped() -> None:
    value = framed(0, NESTED, {"tags": {}, "digest": b"abcd", "again": None,
                   "source": {"topic": TOPIC, "partition": 1, "offset": 8},
                   "model_version": "v5"} | CONTENT)  # fmt: skip
    # Avro specification, "Arrays" and "Maps": a negative count is followed by the block's bytes.
    sized = b"\x01\x06\x02k\x00\x00"  # one entry of three bytes, k with no items, and the end
    one = ScoreReader(Registry(NESTED), TOPIC)
    assert rows(one.sources([value[:5] + sized + value[6:]]), one) == [(1, 8, "v5")]
