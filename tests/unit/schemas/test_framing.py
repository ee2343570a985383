"""How a record's first bytes and headers are interpreted."""

from __future__ import annotations

import pytest

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import (
    MAX_RECORD_BYTES,
    Format,
    FramingError,
    Header,
    Headers,
    prefix,
    read_frame,
)
from schemas.rejections import Stage
from schemas.resolver import LocalSchemas, resolve
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from tests.support.factories import make_batch
from tests.support.wire import FixedResolver, same

SCHEMA = load_schema("transaction")
MARK = schema_fingerprint(SCHEMA)
GUID = bytes(range(16))
NAME = "__value_schema_id"
RESOLVER = FixedResolver({7: SCHEMA}, {GUID: SCHEMA})
HEADER: Header = (NAME, b"\x01" + GUID)


@pytest.mark.parametrize(
    ("value", "headers", "kind", "start"),
    [
        (b"\x00\x00\x00\x00\x07body", None, Format.AVRO, 5),
        (b"\x00\x00\x00\x00\x07", [], Format.AVRO, 5),
        (b"\xc3\x01" + MARK + b"body", None, Format.AVRO, 10),
        (b"body", [HEADER], Format.AVRO, 0),
        (b"\x00\x00\x00\x00\x63", [HEADER], Format.AVRO, 0),
        (b"{}", [HEADER], Format.AVRO, 0),
        (b"", [HEADER], Format.AVRO, 0),
        (b"{}", [("other", b"x"), ("none", None), ("text", "y")], Format.JSON, 0),
        (b" \r\n\t{}", None, Format.JSON, 0),
        (b"[1]", None, Format.JSON, 0),
        (b'"text"', None, Format.JSON, 0),
        (b"null", None, Format.JSON, 0),
    ],
)
def test_framing_is_recognised(value: bytes, headers: Headers, kind: Format, start: int) -> None:
    frame = read_frame(value, headers)
    assert (frame.format, frame.body_start) == (kind, start)
    assert (frame.key is None) == (kind is Format.JSON)
    if frame.key is not None and frame.key != 0x63:
        assert resolve(RESOLVER, frame.key) == SCHEMA


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"\x00", "needs 5 bytes, the value has 1"),
        (b"\x00\x00\x00\x07", "needs 5 bytes, the value has 4"),
        (b"\xc3", "no known framing starts with the bytes c3"),
        (b"\xc3\x01" + MARK[:7], "needs 10 bytes, there are 9"),
        (b"\xc3\x02" + MARK, "no known framing"),
        (b"\x01\x00\x00\x00\x07", "no known framing"),
        (b"hello", "no known framing starts with the bytes 68 65 6c 6c"),
        (b"[1,", "no known framing"),
        (b"\xef\xbb\xbf{}", "no known framing"),
    ],
)
def test_unknown_framing_is_refused(value: bytes, reason: str) -> None:
    with pytest.raises(FramingError, match=reason):
        read_frame(value, None)


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        b"",
        GUID,
        b"\x00" + GUID,
        b"\x01" + GUID[:15],
        b"\x01" + GUID + b"\x00",
        b"\x00\x00\x00\x00\x07",
    ],
)
def test_malformed_schema_header_is_refused_whatever_the_value(data: bytes | str | None) -> None:
    with pytest.raises(FramingError, match="is not 0x01 and a 16-byte GUID"):
        read_frame(b"{}", [(NAME, data)])


def test_first_of_repeated_schema_headers_counts() -> None:
    other: Header = (NAME, b"\x01" + bytes(16))
    assert read_frame(b"x", [HEADER, other]).key == GUID
    assert read_frame(b"x", [other, HEADER]).key == bytes(16)


def test_unknown_schemas_are_named() -> None:
    values = [b"\x00\xff\xff\xff\xff", b"\xc3\x01" + bytes(8), b""]
    headers: list[Headers] = [None, None, [HEADER]]
    found = TransactionDecoder(LocalSchemas()).decode(values, headers).rejections
    assert [r.stage for r in found] == [Stage.SCHEMA] * 3
    named = ("schema id 4294967295", "0000000000000000", GUID.hex())
    assert all(name in r.reason for name, r in zip(named, found, strict=True))


def test_prefix_is_what_read_frame_reads() -> None:
    assert prefix(MARK, None) == b"\xc3\x01" + MARK
    assert prefix(MARK, 7) == b"\x00\x00\x00\x00\x07"
    assert read_frame(prefix(MARK, 7), None).body_start == 5
    assert read_frame(prefix(MARK, None), None).body_start == 10


def test_all_framings_of_a_batch_decode_to_the_same_rows() -> None:
    batch = make_batch(3)
    single, framed = encode_transactions(batch)[0], encode_transactions(batch, 7)[1]
    bare = encode_transactions(batch, 7)[2][5:]
    decoded = TransactionDecoder(RESOLVER).decode(
        [single, framed, bare], [None, [("x", "y")], [("x", None), HEADER]]
    )
    assert not decoded.rejections
    assert same(decoded.batch, batch)


def test_record_may_have_a_megabyte_and_not_a_byte_more() -> None:
    filler = b'{"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3}'
    values = [filler.ljust(MAX_RECORD_BYTES), filler.ljust(MAX_RECORD_BYTES + 1), filler]
    decoded = TransactionDecoder(LocalSchemas()).decode(values, [None] * 3)
    assert decoded.kept.tolist() == [0, 2]
    (rejection,) = decoded.rejections
    assert (rejection.index, rejection.stage) == (1, Stage.FRAMING)
    assert rejection.reason == "the value has 1048577 bytes, more than the 1048576 allowed"


class Unreachable(Exception):
    pass


class BrokenResolver(FixedResolver):
    def by_id(self, schema_id: int) -> object:
        raise Unreachable(schema_id)


def test_other_errors_of_the_resolver_propagate() -> None:
    values = [encode_transactions(make_batch(1))[0], b"\x00\x00\x00\x00\x07x"]
    with pytest.raises(Unreachable):
        TransactionDecoder(BrokenResolver()).decode(values, [None, None])
