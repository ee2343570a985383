"""Decodes record by record with fastavro, for schemas that the compiled loop does not know.

The compiled check decides first whether a body follows its schema, so that both decoders accept the
same bytes. Text is read as bytes, so that text in fields that are skipped need not be UTF-8.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.avro.logical import to_double
from schemas.avro.plan import ReferencePlan
from schemas.body_check import CheckProgram, build_check, check_bodies
from schemas.body_faults import MESSAGES
from schemas.contracts import EVENT_TIME, ID, NUMBER_INDEX, TEXT_INDEX, TIME, AvroSchema
from schemas.json.codec import RowReader
from schemas.rejections import Rejection, Stage

_COLUMNS = frozenset({ID, TIME, EVENT_TIME, *NUMBER_INDEX, *TEXT_INDEX})


class Reference(NamedTuple):
    """The writer's schema with bytes for strings, the check of its bodies, and its decimals."""

    writer: AvroSchema
    check: CheckProgram
    scales: dict[str, int]


def build_reference(plan: ReferencePlan) -> Reference:
    """How the records of a writer are read."""
    return Reference(
        fastavro.parse_schema(_without_strings(plan.schema)),
        build_check(plan.schema, plan.usable),
        plan.scales,
    )


def decode_by_reference(
    joined: bytes,
    rows: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    by: Reference,
    reader: RowReader,
) -> list[Rejection]:
    """Decode the bodies ``joined[begin[i]:end[i]]`` into row ``rows[i]``; returns rejections."""
    error, where = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    buf = np.frombuffer(joined, np.uint8)
    check_bodies(buf, begin, end, *by.check[1:], error, where)
    rejections: list[Rejection] = []
    for i, row in enumerate(rows.tolist()):
        if error[i]:
            name = by.check.names[where[i]] if where[i] >= 0 else None
            rejections.append(
                Rejection(row, Stage.DECODE, MESSAGES[int(error[i])].format(name), name)
            )
            continue
        try:
            body = io.BytesIO(joined[begin[i] : end[i]])
            record = fastavro.schemaless_reader(body, by.writer, None)
            faults = reader.read(row, _columns(record, by.scales))
        except _NotText as wrong:
            name = str(wrong)
            reason = f"{name} is not valid UTF-8"
            rejections.append(Rejection(row, Stage.DECODE, reason, name))
        except Exception as error_:  # fastavro raises any exception type for untrusted bytes
            why = str(error_).partition(" from <_io.")[0] or type(error_).__name__  # no addresses
            reason = f"cannot be read with its schema: {why}"[:300]
            rejections.append(Rejection(row, Stage.DECODE, reason))
        else:
            rejections += first_fault(row, faults)
    return rejections


class _NotText(Exception):
    """A column's text is not UTF-8; the argument is its name."""


def _columns(record: dict[str, Any], scales: dict[str, int]) -> dict[str, Any]:
    """Our columns of a record, with their values as JSON has them."""
    found = {name: value for name, value in record.items() if name in _COLUMNS}
    for name, value in found.items():
        if isinstance(value, bytes):
            if name in scales:
                found[name] = to_double(value, scales[name])
                continue
            try:
                found[name] = value.decode("utf-8")
            except UnicodeDecodeError:
                raise _NotText(name) from None
    return found


def _without_strings(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_strings(branch) for branch in schema]
    if isinstance(schema, dict):
        return {
            key: _without_strings(value) if key in ("type", "items", "values", "fields") else value
            for key, value in schema.items()
            if not key.startswith("__")
        }
    return "bytes" if schema == "string" else schema


def first_fault(row: int, faults: list[tuple[str | None, str, Stage]]) -> list[Rejection]:
    """The first of a record's faults as its rejection."""
    return [Rejection(row, stage, reason, name) for name, reason, stage in faults[:1]]
