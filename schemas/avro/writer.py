"""Encodes columns as Avro bodies."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from schemas.avro.plan import DecodePlan, FieldKind, Target, build_plan
from schemas.avro.write_kernel import write_transactions
from schemas.batch import TransactionBatch, read_only
from schemas.contracts import load_schema

_MAX_FIELD_BYTES: Final = 11  # a union index and the longest varint; a double needs nine


@cache
def _own_plan() -> DecodePlan:
    plan = build_plan(load_schema("transaction"))
    if (
        not isinstance(plan, DecodePlan)
        or (plan.kind == FieldKind.FIXED).any()
        or (plan.target == Target.SKIP).any()
    ):
        raise AssertionError("the transaction schema must be flat, with a column for every field")
    return plan


def encode_avro(batch: TransactionBatch, head: bytes) -> list[bytes]:
    """``head`` and the Avro body of each transaction, with our own schema."""
    plan = _own_plan()
    if len(batch) == 0:
        return []
    batch.check_complete()
    strings = int(np.maximum(batch.lengths, 0).sum())
    room = len(batch) * (len(head) + len(plan.names) * _MAX_FIELD_BYTES) + strings
    out = np.empty(room, np.uint8)
    ends = np.empty(len(batch), np.int64)
    write_transactions(
        np.frombuffer(head, np.uint8),
        plan.target,
        plan.slot,
        plan.is_union,
        batch.ids,
        batch.times,
        batch.event_times,
        batch.numbers.view(np.uint64),
        np.isnan(batch.numbers),
        read_only(batch.text),
        batch.starts,
        batch.lengths,
        out,
        ends,
    )
    data = out[: ends[-1]].tobytes()
    stops = ends.tolist()
    return [data[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]
