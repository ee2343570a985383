"""Writers with other schemas: resolved by the Avro rules, or refused with a reason."""

from __future__ import annotations

import io
import struct
from typing import Any, Final, NamedTuple

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.plan import build_plan
from schemas.batch import build_batch
from schemas.contracts import MAX_TIME_SECONDS, NUMBER_COLUMNS, TEXT_COLUMNS, load_schema
from schemas.records import UndecodableRecord, decode_record, encode_record
from schemas.rejections import Stage
from schemas.scores.writer import varint
from schemas.transactions.codec import Decoded, TransactionDecoder
from tests.support.factories import make_batch, make_score, make_transaction
from tests.support.wire import (
    FAST,
    FINITE,
    INT64,
    FixedResolver,
    confluent,
    reference_batch,
    same,
    write_body,
)

Encoded = st.SearchStrategy[bytes]
REQUIRED: Final = ["TransactionID", "TransactionDT", "TransactionAmt"]


def framed(data: bytes) -> bytes:
    return varint(len(data)) + data


# Avro specification, "Binary Encoding": a strategy of a value's bytes for each type.
PRIMITIVES: Final[dict[str, Encoded]] = {
    "null": st.just(b""),
    "boolean": st.sampled_from([b"\x00", b"\x01"]),
    "int": st.integers(-(2**31), 2**31 - 1).map(varint),
    "long": INT64.map(varint),
    "float": st.floats(width=32, allow_infinity=False).map(lambda x: struct.pack("<f", x)),
    "double": FINITE.map(lambda x: struct.pack("<d", x)),
    "string": st.text(max_size=6).map(lambda s: framed(s.encode())),
    "bytes": st.text(max_size=6).map(lambda s: framed(s.encode())),
}
READABLE: Final = {
    "TransactionID": ["int", "long"],
    "TransactionDT": ["seconds"],
    "TransactionAmt": ["int", "long", "double"],
    "event_time": ["null", "int", "long"],
    "number": ["null", "int", "long", "float", "double"],
    "text": ["null", "string", "bytes"],
    "extra": list(PRIMITIVES),
}


class Field(NamedTuple):
    schema: Any
    encoded: bytes


@st.composite
def fields(draw: st.DrawFn, kind: str) -> Field:
    """A type that ``kind`` can be read from, alone or among others in a union, and a value."""
    chosen = draw(st.sampled_from(READABLE[kind]))
    if chosen == "seconds":
        chosen, value = "long", draw(st.integers(0, MAX_TIME_SECONDS).map(varint))
    else:
        value = draw(PRIMITIVES[chosen])
    if draw(st.booleans()):
        return Field(
            draw(st.sampled_from([chosen, {"type": chosen, "avro.java.string": "x"}])), value
        )
    others = draw(st.sets(st.sampled_from(sorted(PRIMITIVES)), max_size=3)) - {chosen}
    union = draw(st.permutations([chosen, *sorted(others)]))
    return Field(union, varint(union.index(chosen)) + value)


@st.composite
def extras(draw: st.DrawFn, number: int, *, nested: bool) -> Field:
    """A field we do not know."""
    enum = Field({"type": "enum", "name": f"E{number}", "symbols": ["A", "B"]}, b"\x02")
    fixed = Field({"type": "fixed", "name": f"ns.F{number}", "size": 5}, b"\xff" * 5)
    nothing = Field({"type": "fixed", "name": f"G{number}", "size": 0}, b"")
    union = Field(["null", enum.schema, fixed.schema, "string"], b"\x04" + fixed.encoded)
    if not nested:
        flat = [enum, fixed, nothing, union]
        known: Field = draw(fields("extra") | st.sampled_from(flat))
        return known
    strings = draw(st.lists(PRIMITIVES["string"], max_size=3))
    blocks = (varint(len(strings)) + b"".join(strings) if strings else b"") + b"\x00"
    array = Field({"type": "array", "items": "string"}, blocks)
    pairs = [framed(b"k%d" % i) + s for i, s in enumerate(strings)]
    data = b"".join(pairs)
    sized = varint(-len(pairs)) + varint(len(data)) + data if pairs else b""
    mapped = Field({"type": "map", "values": "string"}, sized + b"\x00")
    inner = [{"name": "a", "type": "int"}, {"name": "b", "type": array.schema}]
    record = Field({"type": "record", "name": f"R{number}", "fields": inner}, b"\x0e" + blocks)
    option = Field(["null", record.schema], b"\x02" + record.encoded)
    deep: Field = draw(st.sampled_from([array, mapped, record, option]))
    return deep


@st.composite
def writers(draw: st.DrawFn, *, nested: bool) -> tuple[dict[str, Any], bytes]:
    """A writer's schema and one record's body."""
    kinds = dict.fromkeys(draw(st.sets(st.sampled_from(NUMBER_COLUMNS), max_size=5)), "number")
    kinds |= dict.fromkeys(draw(st.sets(st.sampled_from(TEXT_COLUMNS), max_size=4)), "text")
    kinds |= {"event_time": "event_time"} if draw(st.booleans()) else {}
    kinds |= {name: name for name in REQUIRED}
    found = {name: draw(fields(kind)) for name, kind in kinds.items()}
    for i in range(draw(st.integers(0, 3))):
        found[f"extra_{i}"] = draw(extras(i, nested=False))
    if nested:
        found["extra_nested"] = draw(extras(9, nested=True))
    order = draw(st.permutations(sorted(found)))
    name = draw(st.sampled_from(["Transaction", "Payment", "com.example.Payment"]))
    schema = {
        "type": "record",
        "name": name,
        "fields": [{"name": n, "type": found[n].schema} for n in order],
    }
    return schema, b"".join(found[n].encoded for n in order)


def decode(schema: Any, *bodies: bytes) -> Decoded:
    decoder = TransactionDecoder(FixedResolver({1: schema}))
    return decoder.decode([confluent(1, body) for body in bodies], [None] * len(bodies))


@FAST
@given(writers(nested=False))
def test_any_flat_writer_is_read_as_the_reference_reads_it(
    written: tuple[dict[str, Any], bytes],
) -> None:
    schema, body = written
    decoded = decode(schema, body)
    assert not decoded.rejections
    assert same(decoded.batch, reference_batch([body], schema))


@FAST
@given(writers(nested=True))
def test_any_nested_writer_is_read_as_the_reference_reads_it(
    written: tuple[dict[str, Any], bytes],
) -> None:
    schema, body = written
    decoded = decode(schema, body)
    assert not decoded.rejections
    assert same(decoded.batch, reference_batch([body], schema))


def writer(*more: dict[str, Any], **types: Any) -> dict[str, Any]:
    required = {"TransactionID": "long", "TransactionDT": "long", "TransactionAmt": "double"}
    columns = [{"name": name, "type": t} for name, t in (required | types).items()]
    return {"type": "record", "name": "Payment", "fields": [*columns, *more]}


def row(schema: Any, record: dict[str, Any]) -> dict[str, Any]:
    decoded = decode(schema, write_body(schema, record))
    assert not decoded.rejections
    cells = decoded.batch.row(0)
    return {name: value for name, value in cells.items() if value is not None}


def test_column_that_is_always_null_is_missing() -> None:
    schema = writer(card1="null", card4="null", event_time="null", unknown="null", card2="double")
    given = {"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3.0, "card2": 4.0}
    assert row(schema, given) == given


def test_named_types_of_two_namespaces_are_kept_apart() -> None:
    schema = writer(
        {"name": "one", "type": {"type": "enum", "name": "a.Kind", "symbols": ["X"]}},
        {"name": "two", "type": {"type": "fixed", "name": "b.Kind", "size": 4}},
        {"name": "three", "type": "a.Kind"},
        {"name": "four", "type": ["null", "b.Kind"]},
        {"name": "card1", "type": "double"},
    )
    given = {"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3.0, "card1": 4.0}
    more = {"one": "X", "two": b"abcd", "three": "X", "four": b"wxyz"}
    assert row(schema, given | more) == given


def test_name_without_namespace_means_the_records() -> None:
    schema = writer(
        {"name": "one", "type": {"type": "enum", "name": "Kind", "symbols": ["X", "Y"]}},
        {"name": "two", "type": "x.y.Kind"},
        {"name": "three", "type": "Kind"},
    ) | {"namespace": "x.y"}
    given = {"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3.0}
    assert row(schema, given | dict.fromkeys(("one", "two", "three"), "Y")) == given


def test_type_defined_inside_a_nested_one_can_be_used_later() -> None:
    inner = {"type": "fixed", "name": "Mark", "size": 2}
    schema = writer(
        {"name": "list", "type": {"type": "array", "items": inner}}, {"name": "m", "type": "Mark"}
    )
    given = {"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3.0}
    assert row(schema, given | {"list": [b"ab"], "m": b"cd"}) == given


def test_logical_types_and_wrong_defaults_of_the_writer_do_not_matter() -> None:
    schema = writer(
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}, "default": "null"},
    )
    body = write_body(writer(event_time="long", day="int"), make_transaction(event_time=5, day=6))
    decoded = decode(schema, body)
    assert not decoded.rejections
    assert decoded.batch.event_times.tolist() == [5]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("name", "branch", "stage", "reason"),
    [
        ("TransactionAmt", "null", Stage.VALIDATE, "TransactionAmt is missing"),
        ("TransactionID", "null", Stage.VALIDATE, "TransactionID is missing"),
        ("card1", "string", Stage.DECODE, "card1 has a type that cannot be read as ours"),
        ("card4", "double", Stage.DECODE, "card4 has a type that cannot be read as ours"),
    ],
)
def test_unreadable_branch_rejects_only_its_record(
    name: str, branch: str, stage: Stage, reason: str, nested: bool
) -> None:
    types = {"TransactionAmt": "double", "TransactionID": "long", "card1": "double"}
    usable = types.get(name, "string")
    more = {"list": {"type": "array", "items": "int"}} if nested else {}
    schema = writer(**{name: [branch, usable]}, **more)
    good = make_transaction(1, card1=2.0, list=[1])
    values = {"null": None, "string": "x", "double": 1.5}
    bodies = [write_body(schema, r) for r in (good, good | {name: values[branch]}, good)]
    decoded = decode(schema, *bodies)
    assert decoded.kept.tolist() == [0, 2]
    (rejection,) = decoded.rejections
    assert rejection.index == 1
    if not nested:  # the reference has its own messages
        assert (rejection.stage, rejection.reason, rejection.field) == (stage, reason, name)


NODE: Final = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "n", "type": ["null", "Node"]}],
}
EMPTY: Final = {"type": "record", "name": "Empty", "fields": [{"name": "n", "type": "null"}]}
THIN: Final = {
    "type": "record",
    "name": "Thin",
    "fields": [{"name": "b", "type": "boolean"}]
    + [{"name": f"n{i}", "type": "null"} for i in range(20)],
}
WIDE: Final = [{"name": f"w{i}", "type": "null"} for i in range(10_000)]
ERROR: Final = {"type": "error", "name": "Problem", "fields": [{"name": "e", "type": "Problem"}]}


def fixed(size: object) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size}


def doubling(levels: int, leaf: str = "null") -> dict[str, Any]:
    """Each record contains the previous one twice: 2**levels values."""
    found: dict[str, Any] = {"type": "record", "name": "D0", "fields": [plain("a", leaf)]}
    for level in range(1, levels + 1):
        twice = [plain("a", found), plain("b", f"D{level - 1}")]
        found = {"type": "record", "name": f"D{level}", "fields": twice}
    return found


def plain(name: str, avro_type: Any) -> dict[str, Any]:
    return {"name": name, "type": avro_type}


CHAIN: Final = [
    plain(
        f"c{i}",
        {"type": "record", "name": f"C{i}", "fields": [plain("a", f"C{i - 1}" if i else "int")]},
    )
    for i in range(3000)
]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("string", "is not a record"),
        (["null", writer()], "is not a record"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "is not a record"),
        ({**writer(), "fields": writer()["fields"][:1]}, "has no TransactionDT, TransactionAmt"),
        (writer(TransactionID="string"), "TransactionID cannot be read from string"),
        (writer(TransactionID="double"), "TransactionID cannot be read from double"),
        (writer(TransactionAmt="string"), "TransactionAmt cannot be read from string"),
        (writer(TransactionAmt="null"), "TransactionAmt cannot be read from null"),
        (writer(TransactionDT=["null"]), "TransactionDT cannot be read from null"),
        (writer(card1="boolean"), "card1 cannot be read from boolean"),
        (writer(card1=["boolean", "string"]), "card1 cannot be read from boolean or string"),
        (writer(card4="long"), "card4 cannot be read from long"),
        (writer(event_time="double"), "event_time cannot be read from double"),
        (writer(card4={"type": "array", "items": "string"}), "card4 cannot be read from array"),
        (
            writer(a={"type": "array", "items": "string"}, card4="long"),
            "card4 cannot be read from long",
        ),
        (writer(card1={"type": "enum", "name": "E", "symbols": ["A"]}), "cannot be read from enum"),
        (writer(x="Nowhere"), "the writer's schema is not valid"),
        (writer({"name": "x"}), "the writer's schema is not valid"),
        ({"type": "record", "fields": []}, "the writer's schema is not valid"),
        (17, "the writer's schema is not valid"),
        (writer(x=NODE), "is recursive: Node contains itself"),
        (writer(x=["null", "Payment"]), "is recursive: Payment contains itself"),
        (writer(x={"type": "map", "values": NODE}), "is recursive: Node contains itself"),
        (writer(x={"type": "array", "items": "null"}), "an array whose items have too few bytes"),
        (writer(x={"type": "array", "items": EMPTY}), "an array whose items have too few bytes"),
        (
            writer(y=EMPTY, x={"type": "array", "items": "Empty"}),
            "an array whose items have too few bytes",
        ),
        (
            writer(x={"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}),
            "an array whose items have too few bytes",
        ),
        (
            writer(x={"type": "array", "items": THIN}),
            "an array whose items have too few bytes for their",
        ),
        (
            writer(x={"type": "map", "values": THIN}),
            "a map whose items have too few bytes for their",
        ),
        (writer(x=doubling(40)), "expands to more than 10000 values"),
        (writer(x=doubling(40, "long")), "expands to more than 10000 values"),
        (writer(x={"type": "array", "items": doubling(40)}), "expands to more than 10000 values"),
        (writer(x=["null", doubling(40)]), "expands to more than 10000 values"),
        ({**writer(), "fields": writer()["fields"] + WIDE}, "expands to more than 10000 values"),
        ({**writer(), "fields": writer()["fields"] + CHAIN}, "nests deeper than 200"),
        (writer(x=ERROR), "is recursive: Problem contains itself"),
        (writer(x=fixed(-1)), "a fixed of -1 bytes"),
        (writer(x=fixed(-4_000_000_000_000), y="long"), "a fixed of -4000000000000 bytes"),
        (writer(x=fixed(2**63 - 1), y="long"), "a fixed of 9223372036854775807 bytes"),
        (writer(x=fixed(2**70)), "a fixed of 1180591620717411303424 bytes"),
        (writer(x=fixed(1024 * 1024 + 1)), "a fixed of 1048577 bytes"),
        (writer(x=fixed("abc")), "a fixed of 'abc' bytes"),
        (writer(x=fixed(True)), "a fixed of True bytes"),
        (writer(x=fixed(2.5)), "a fixed of 2.5 bytes"),
        (writer(x=["null", fixed(-1)]), "a fixed of -1 bytes"),
    ],
)
def test_writer_that_cannot_be_read_is_refused_by_schema(schema: Any, reason: str) -> None:
    good = confluent(2, write_body(load_schema("transaction"), make_transaction()))
    resolver = FixedResolver({1: schema, 2: load_schema("transaction")})
    values = [good, confluent(1, b"\x02" * 100_000), good, confluent(1, b"")]
    decoded = TransactionDecoder(resolver).decode(values, [None] * 4)
    assert decoded.kept.tolist() == [0, 2]
    assert [r.index for r in decoded.rejections] == [1, 3]
    for rejection in decoded.rejections:
        assert rejection.stage is Stage.SCHEMA
        assert reason in rejection.reason


def test_writer_of_wide_and_deep_records_within_limits_is_read() -> None:
    option = {"type": "record", "name": "Wide", "fields": [plain(f"a{i}", ["null", "string"])
                                                           for i in range(300)]}  # fmt: skip
    schema = writer(
        x={"type": "array", "items": ["null", option]},
        y={"type": "map", "values": ["null", "Wide"]},
        z={"type": "array", "items": {"type": "array", "items": "boolean"}},
        deep=CHAIN[0]["type"],
        digest=fixed(32),
    )
    chain: Any = {"a": 1}
    for i in range(1, 90):
        schema["fields"].append(CHAIN[i])
        chain = {"a": chain}
    more = {f"c{i}": nested(chain, 89 - i) for i in range(1, 90)}
    wide = {f"a{i}": "x" for i in range(300)}
    row = make_transaction(
        x=[None, wide], y={"k": wide}, z=[[True], []], deep={"a": 1}, digest=b"d" * 32, **more
    )
    body = write_body(schema, row)
    decoded = TransactionDecoder(FixedResolver({1: schema})).decode([confluent(1, body)], [None])
    assert decoded.rejections == []
    assert decoded.batch.row(0)["TransactionAmt"] == row["TransactionAmt"]


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = value["a"]
    return value


def test_plan_of_a_writer_is_built_once_even_if_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned: list[Any] = []

    def count(schema: Any) -> Any:
        planned.append(schema)
        return build_plan(schema)

    monkeypatch.setattr("schemas.transactions.writers.build_plan", count)
    bad, nested = writer(card4="long"), writer(a={"type": "array", "items": "int"})
    decoder = TransactionDecoder(FixedResolver({1: bad, 2: nested}))
    body = write_body(nested, make_transaction(a=[1, 2]))
    for _ in range(3):
        decoded = decoder.decode([confluent(1, b"x"), confluent(2, body)] * 5, [None] * 10)
        assert decoded.kept.tolist() == [1, 3, 5, 7, 9]
    assert planned == [bad, nested]


NEW: Final = {"name": "added", "type": ["null", "string"], "default": None}
RECORDS: Final[dict[str, dict[str, Any]]] = {
    "transaction": make_batch(1).row(0),
    "fraud_score": make_score("t", 0, 1),
    "fraud_label": {
        "transaction_id": 1,
        "label": "UNSURE",
        "origin": "ANALYST",
        "decided_by": "me",
        "decided_at": 5,
        "note": None,
        "score": None,
        "review_threshold": None,
        "block_threshold": None,
        "model_version": None,
        "source": None,
        "supersedes": None,
    },
    "audit_event": {
        "event_id": "e",
        "kind": "claim",
        "at": 5,
        "by": "me",
        "role": None,
        "client": None,
        "flag_id": "0-1",
        "transaction_id": 1,
        "until": None,
        "label": None,
        "reasons": ["one"],
        "note": None,
        "details": None,
    },
}


@pytest.mark.parametrize("contract", list(RECORDS))
def test_current_reader_reads_a_newer_writer(contract: str) -> None:
    own = load_schema(contract)
    later = {**own, "fields": [NEW, *reversed(own["fields"])]}
    value = confluent(1, write_body(later, RECORDS[contract] | {"added": "more"}))
    resolver = FixedResolver({1: later})
    assert decode_record(contract, value, resolver) == RECORDS[contract]
    if contract == "transaction":
        decoded = TransactionDecoder(resolver).decode([value], [None])
        assert same(decoded.batch, build_batch([RECORDS[contract]]))


@pytest.mark.parametrize("contract", list(RECORDS))
def test_current_reader_reads_an_older_writer(contract: str) -> None:
    own = load_schema(contract)
    earlier = {**own, "fields": [f for f in own["fields"] if "default" not in f]}
    assert len(earlier["fields"]) < len(own["fields"])
    value = confluent(1, write_body(earlier, RECORDS[contract]))
    resolver = FixedResolver({1: earlier})
    empty = {f["name"]: f["default"] for f in own["fields"] if "default" in f}
    assert decode_record(contract, value, resolver) == RECORDS[contract] | empty
    if contract == "transaction":
        decoded = TransactionDecoder(resolver).decode([value], [None])
        assert decoded.batch.row(0) == RECORDS[contract] | empty


@pytest.mark.parametrize("contract", list(RECORDS))
def test_newer_reader_reads_our_records(contract: str) -> None:
    """BACKWARD compatibility: a new field with a default, read from current bytes."""
    own = load_schema(contract)
    later = fastavro.parse_schema({**own, "fields": [*own["fields"], NEW]})
    body = encode_record(contract, RECORDS[contract])[10:]
    found = fastavro.schemaless_reader(io.BytesIO(body), fastavro.parse_schema(own), later)
    assert isinstance(found, dict)
    assert found["added"] is None
    assert set(found) == {*RECORDS[contract], "added"}


def test_recursive_writer_of_a_score_is_refused_not_followed() -> None:
    own = load_schema("fraud_score")
    deep = {**own, "fields": [{"name": "x", "type": NODE}, *own["fields"]]}
    value = confluent(1, b"\x02" * 1_000_000)
    with pytest.raises(UndecodableRecord, match="recursive"):
        decode_record("fraud_score", value, FixedResolver({1: deep}))
