"""Logical types of a writer's columns: which are refused, and which change how a value is read.

Elsewhere in a schema logical types are ignored, as the specification allows.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.contracts import EVENT_TIME, NUMBER_INDEX, TEXT_INDEX, TIME, AvroSchema
from schemas.writer_schema import UnreadableSchema

_MILLIS: Final = "timestamp-millis"
_TIMES: Final = frozenset(
    {
        _MILLIS,
        "timestamp-micros",
        "timestamp-nanos",
        "local-timestamp-millis",
        "local-timestamp-micros",
        "local-timestamp-nanos",
        "time-millis",
        "time-micros",
        "date",
        "duration",
    }
)
_CONNECT_TIMES: Final = (
    "org.apache.kafka.connect.data.Timestamp",
    "org.apache.kafka.connect.data.Time",
    "org.apache.kafka.connect.data.Date",
    "io.debezium.time.",
)
"""``connect.name`` says the same where a connector writes no logical type."""

_MAX_SCALE: Final = 400  # a double has no digit beyond


def read_scales(schema: AvroSchema) -> dict[str, int]:
    """Number column → the scale of its decimals, for the columns that have some.

    Raises:
        UnreadableSchema: a column has a logical type that says it is something else than ours.
    """
    fields = schema.get("fields") if isinstance(schema, dict) else None
    named: dict[str, list[dict[str, Any]]] = {}
    scales: dict[str, int] = {}
    for field in fields if isinstance(fields, list) else ():
        if not isinstance(field, dict) or not isinstance(name := field.get("name"), str):
            continue
        annotated = _annotated(field.get("type"), named)
        if name not in NUMBER_INDEX and name not in TEXT_INDEX and name not in _SPECIAL:
            continue
        _refuse_times(name, annotated)
        decimals = [a for a in annotated if a.get("logicalType") == "decimal"]
        if not decimals:
            continue
        if name not in NUMBER_INDEX:
            raise UnreadableSchema(f"{name} cannot be read from decimal: it is not an amount")
        scales[name] = _scale(name, decimals)
    return scales


_SPECIAL: Final = ("TransactionID", TIME, EVENT_TIME)


def _refuse_times(name: str, annotated: list[dict[str, Any]]) -> None:
    for annotation in annotated:
        found = annotation.get("logicalType")
        if not isinstance(found, str) or found not in _TIMES:
            found = annotation.get("connect.name")
            if not isinstance(found, str) or not found.startswith(_CONNECT_TIMES):
                continue
        if name == EVENT_TIME:
            if found in (_MILLIS, _CONNECT_TIMES[0], "io.debezium.time.Timestamp"):
                continue
            raise UnreadableSchema(f"{name} has the logical type {found}; write {_MILLIS}")
        if name == TIME:
            raise UnreadableSchema(
                f"{name} has the logical type {found}, but it is a plain number of seconds since "
                f"the data set's origin; write those as a long, and the date as {EVENT_TIME}"
            )
        raise UnreadableSchema(f"{name} has the logical type {found}, but it is not a time")


def _scale(name: str, decimals: list[dict[str, Any]]) -> int:
    found = {d.get("scale", 0) for d in decimals if isinstance(d.get("scale", 0), int)}
    if len(found) != 1 or not 0 <= min(found) <= _MAX_SCALE:
        raise UnreadableSchema(
            f"{name} is a decimal whose scale is not one whole number from 0 to {_MAX_SCALE}"
        )
    return int(min(found))


def _annotated(avro_type: Any, named: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The types of a field that can be annotated, through unions and names, not inside records."""
    if isinstance(avro_type, list):
        return [found for branch in avro_type for found in _annotated(branch, named)]
    if isinstance(avro_type, str):
        return named.get(avro_type.rpartition(".")[2], [])
    if not isinstance(avro_type, dict):
        return []
    inner = avro_type.get("type")
    found = [avro_type, *(_annotated(inner, named) if isinstance(inner, (dict, list)) else [])]
    if isinstance(name := avro_type.get("name"), str):
        named[name.rpartition(".")[2]] = found
    return found


def to_double(unscaled: bytes, scale: int) -> float:
    """A decimal's value as the nearest double; infinite beyond the largest one.

    Dividing two integers rounds once, and correctly (Python's own guarantee).
    """
    try:
        divisor: int = 10**scale
        return int.from_bytes(unscaled, "big", signed=True) / divisor
    except OverflowError:
        return float("inf")
