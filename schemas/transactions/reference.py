"""Decodes record by record with fastavro, for schemas that the compiled loop does not know."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import NamedTuple

import fastavro

from schemas.avro import kernel as avro_kernel
from schemas.avro.messages import MESSAGES
from schemas.contracts import AvroSchema, load_schema
from schemas.json.codec import RowReader
from schemas.rejections import Rejection, Stage
from schemas.writer_schema import plain_types


class Reference(NamedTuple):
    """Writer's and reader's schema for the reference decoder."""

    writer: AvroSchema
    reader: AvroSchema


def build_reference(writer: AvroSchema) -> Reference:
    """How records of a parsed writer's schema are read."""
    # With the writer's name: the reference decoder compares names, and the name cannot change the
    # meaning of the fields.
    ours = {**plain_types(load_schema("transaction")), "name": writer["name"], "namespace": ""}
    return Reference(writer, fastavro.parse_schema(ours))


def decode_by_reference(
    joined: bytes, bodies: Iterable[tuple[int, int, int]], by: Reference, reader: RowReader
) -> Iterable[Rejection]:
    """Decode records given as (row, begin, end) in ``joined``; yields the rejections."""
    for row, begin, end in bodies:
        body = io.BytesIO(joined[begin:end])
        try:
            record = fastavro.schemaless_reader(body, by.writer, by.reader)
        except Exception as error:  # fastavro raises any exception type for untrusted bytes
            why = str(error).partition(" from <_io.")[0] or type(error).__name__  # no addresses
            yield Rejection(row, Stage.DECODE, f"cannot be read with its schema: {why}"[:300])
            continue
        if body.read(1):
            yield Rejection(row, Stage.DECODE, MESSAGES[avro_kernel.TRAILING])
            continue
        yield from first_fault(row, reader.read(row, record))


def first_fault(row: int, faults: list[tuple[str | None, str, Stage]]) -> Iterable[Rejection]:
    """The first of a record's faults as its rejection."""
    if faults:
        name, reason, stage = faults[0]
        yield Rejection(row, stage, reason, name)
