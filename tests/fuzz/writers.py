"""Writers with schemas other than ours, for records that the decoder must resolve."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from schemas.contracts import AvroSchema, load_schema
from schemas.writer_schema import plain_types

_FEW: Final = ("TransactionID", "TransactionDT", "TransactionAmt", "card1", "card4", "V45", "C1")


_MICROS: Final = {"type": "long", "logicalType": "timestamp-micros"}


def _fields() -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = plain_types(load_schema("transaction"))["fields"]
    return fields


def _record(fields: list[dict[str, Any]], name: str = "Transaction") -> AvroSchema:
    return {"type": "record", "name": name, "fields": fields}


def _few() -> list[dict[str, Any]]:
    return [field for field in _fields() if field["name"] in _FEW]


def _plain(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "type": kind}


@cache
def evolved_writers() -> dict[int, AvroSchema]:
    """By schema id: ours; flat ones that a plan reads; nested ones for the reference decoder."""
    narrow = [
        _plain("TransactionAmt", "float"),
        _plain("TransactionID", "int"),
        _plain("TransactionDT", "int"),
        _plain("card1", "int"),
        _plain("card4", "string"),
        _plain("V45", ["double", "null", "long"]),
    ]
    extras = [
        _plain("colour", {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}),
        *_few(),
        _plain("digest", {"type": "fixed", "name": "Digest", "size": 5}),
        _plain("note", ["null", "string", "bytes", "boolean"]),
    ]
    items = _record([_plain("sku", "string"), _plain("count", "long")], "Item")
    nested = [
        *_few(),
        _plain("items", {"type": "array", "items": items}),
        _plain("tags", {"type": "map", "values": ["null", "string"]}),
    ]
    symbols = {"type": "enum", "name": "Product", "symbols": ["W", "C", "H", "R", "S"]}
    money = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}
    converted = [
        *(field for field in _few() if field["name"] != "TransactionAmt"),
        _plain("ProductCD", ["null", symbols]),
        _plain("TransactionAmt", money),
        _plain("event_time", {"type": "long", "logicalType": "timestamp-millis"}),
    ]
    return {
        1: load_schema("transaction"),
        2: _record(list(reversed(_fields()))),
        3: _record(_few(), "com.example.Payment"),
        4: _record(narrow),
        5: _record(extras),
        6: _record(nested),
        7: _record(converted),
    }


@cache
def unusable_writers() -> dict[int, AvroSchema]:
    """By schema id: schemas from which no transaction can be read, or of unbounded size."""
    endless: Any = _record([*_few(), _plain("next", ["null", "Transaction"])])
    return {
        20: _record([_plain("TransactionID", "string")]),
        21: _record([_plain("other", "long")]),
        22: endless,
        23: _record([*_few(), _plain("rows", {"type": "array", "items": "null"})]),
        24: _record([*_few(), _plain("twice", _doubling(40))]),
        25: _record([*_few(), _plain("many", {"type": "array", "items": _doubling(12)})]),
        26: _record([_plain("gap", _fixed(2**63 - 1)), *_few()]),
        28: _record([*_few()[1:], _plain("TransactionDT", _MICROS)]),
        29: _record([*_few(), _plain("ProductCD", {"type": "array", "items": "string"})]),
        30: _record([*_few(), _plain("\ud800", "\ud800")], "\ud800"),
        31: _record([*_few(), _plain("D1", {"type": "int", "logicalType": "date"})]),
        32: _record([_plain("before", ["null", "long"]), _plain("after", "long")]),
        27: _record([_plain("back", _fixed(-(2**40))), *_few()]),
    }


def _fixed(size: int) -> AvroSchema:
    return {"type": "fixed", "name": "Digest", "size": size}


def _doubling(levels: int) -> AvroSchema:
    """Each record contains the previous one twice."""
    found = _record([_plain("a", "null")], "Level0")
    for level in range(1, levels + 1):
        twice = [_plain("a", found), _plain("b", f"Level{level - 1}")]
        found = _record(twice, f"Level{level}")
    return found


def fill(schema_id: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` with the fields that a writer of ``evolved_writers`` adds or replaces."""
    if schema_id == 4:
        return {
            "TransactionAmt": round(row["TransactionAmt"]),
            "TransactionID": row["TransactionID"],
            "TransactionDT": row["TransactionDT"],
            "card1": int(row["card1"]),
            "card4": row.get("card4") or "visa",
            "V45": row.get("V45"),
        }
    if schema_id == 7:
        cents = round(row["TransactionAmt"] * 100)
        row = {
            **row,
            "ProductCD": row.get("ProductCD"),
            "TransactionAmt": cents.to_bytes(8, "big", signed=True),
            "event_time": 1_512_173_640_456,
        }
    return {
        **row,
        "colour": "BLUE",
        "digest": b"12345",
        "note": "a note",
        "items": [{"sku": "a", "count": 2}, {"sku": "b", "count": -1}],
        "tags": {"k": "v", "n": None},
    }
