"""Turns a score's schema into a short program that extracts the values an audit needs. Pure.

An audit needs a score's source topic, partition and offset, the model version, the transaction,
score, decision and thresholds; and, if the schema has them, the event time, whether there are
reasons and a context, and whether it was sampled. The program describes how to skip everything
else, so that the compiled loop does not decode it. A schema with a different layout from ours has
no program; the reference decoder reads its records.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.contracts import AvroSchema


class Op(IntEnum):
    """What to do with the next bytes (Avro specification, "Binary Encoding")."""

    END = 0
    VARINT = 1  # skip a varint
    FIXED = 2  # skip ``a`` bytes
    BYTES = 3  # skip a length and that many bytes
    UNION = 4  # read the branch (of ``b``) and continue at ``a`` + branch
    JUMP = 5  # continue at ``a``
    BLOCK = 6  # read the item count; ``a``: where to continue after the last block
    AGAIN = 7  # an item ends; ``a``: its BLOCK
    TAKE_VARINT = 8  # store a varint in slot ``a``
    TAKE_BYTES = 9  # store the start in slot ``a``, the length in ``a`` + 1
    TAKE_FIXED = 10  # store ``b`` bytes, little-endian, in slot ``a``
    PEEK = 11  # read a number into slot ``a``, and stay before it
    SET = 12  # store ``b`` in slot ``a``


class Slot(IntEnum):
    """Where a value is stored."""

    TOPIC = 0  # and its length
    VERSION = 2  # and its length
    PARTITION = 4
    OFFSET = 5
    TRANSACTION = 6
    SCORE = 7  # the bits of a double, as are the thresholds
    DECISION = 8
    IS_FLAGGED = 9
    REVIEW = 10
    BLOCK = 11
    EVENT_TIME = 12
    EVENT_STATED = 13  # 0 if the schema has no event time, 1 if there is one, 2 if it is null
    REASONS = 14  # 0 if there are none
    CONTEXT = 15  # 0 if it is null
    IS_SAMPLED = 16  # 0 if it is false, or the schema does not have it


SLOTS: Final = 17

DECISIONS: Final = ("APPROVE", "REVIEW", "BLOCK")
"""In the order of the schema's enum."""

_SIMPLE: Final = {
    "null": (Op.FIXED, 0),
    "enum": (Op.VARINT, 0),
    "boolean": (Op.FIXED, 1),
    "int": (Op.VARINT, 0),
    "long": (Op.VARINT, 0),
    "float": (Op.FIXED, 4),
    "double": (Op.FIXED, 8),
    "bytes": (Op.BYTES, 0),
    "string": (Op.BYTES, 0),
}
_WANTED: Final = {
    ("model_version",): (Slot.VERSION, Op.TAKE_BYTES, ("string",)),
    ("source", "topic"): (Slot.TOPIC, Op.TAKE_BYTES, ("string",)),
    ("source", "partition"): (Slot.PARTITION, Op.TAKE_VARINT, ("int", "long")),
    ("source", "offset"): (Slot.OFFSET, Op.TAKE_VARINT, ("int", "long")),
    ("transaction_id",): (Slot.TRANSACTION, Op.TAKE_VARINT, ("int", "long")),
    ("score",): (Slot.SCORE, Op.TAKE_FIXED, ("double",)),
    ("decision",): (Slot.DECISION, Op.TAKE_VARINT, ("enum",)),
    ("is_flagged",): (Slot.IS_FLAGGED, Op.TAKE_FIXED, ("boolean",)),
    ("review_threshold",): (Slot.REVIEW, Op.TAKE_FIXED, ("double",)),
    ("block_threshold",): (Slot.BLOCK, Op.TAKE_FIXED, ("double",)),
}
_FIXED_BYTES: Final = {"double": 8, "boolean": 1}
_EVENT_TIME: Final = ("event_time",)
_REASONS: Final = ("reasons",)
_CONTEXT: Final = ("context",)
_IS_SAMPLED: Final = ("is_sampled",)


class _Unusual(Exception):
    """The schema's layout differs from ours."""


class _Assembler:
    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.taken: set[tuple[str, ...]] = set()
        self._named: dict[str, Any] = {}

    def emit(self, op: Op, a: int = 0, b: int = 0) -> int:
        self.rows.append([op, a, b])
        return len(self.rows) - 1

    def add(self, avro_type: Any, path: tuple[str, ...] = ()) -> None:
        if isinstance(avro_type, dict) and isinstance(name := avro_type.get("name"), str):
            self._named[name] = avro_type
        while isinstance(avro_type, str) and avro_type in self._named:
            avro_type = self._named[avro_type]
        kind = avro_type["type"] if isinstance(avro_type, dict) else avro_type
        if path in _WANTED:
            slot, op, types = _WANTED[path]
            if kind not in types or (
                kind == "enum" and tuple(avro_type["symbols"])[: len(DECISIONS)] != DECISIONS
            ):
                raise _Unusual
            self.taken.add(path)
            self.emit(op, slot, _FIXED_BYTES.get(kind, 0))
        elif self._optional(kind, path):
            return
        elif isinstance(avro_type, list):
            self._union(avro_type, path)
        elif kind == "record":
            for inner in avro_type["fields"]:
                self.add(inner["type"], (*path, inner["name"]) if path is not _DEEP else _DEEP)
        elif kind in ("array", "map"):
            self._blocks(avro_type, path, is_map=kind == "map")
        elif kind == "fixed":
            self.emit(Op.FIXED, int(avro_type["size"]))
        elif kind in _SIMPLE:
            self.emit(*_SIMPLE[kind])
        else:
            raise _Unusual

    def _optional(self, kind: Any, path: tuple[str, ...]) -> bool:
        """Whether it is a value that some schemas have, and then how to store it."""
        if path == _EVENT_TIME and kind in ("int", "long"):
            self.emit(Op.SET, Slot.EVENT_STATED, 1)
            self.emit(Op.TAKE_VARINT, Slot.EVENT_TIME)
        elif path == _IS_SAMPLED and kind == "boolean":
            self.emit(Op.TAKE_FIXED, Slot.IS_SAMPLED, _FIXED_BYTES[kind])
        else:
            return False
        return True

    def _blocks(self, avro_type: Any, path: tuple[str, ...], *, is_map: bool) -> None:
        if path == _REASONS:
            self.emit(Op.PEEK, Slot.REASONS)
        block = self.emit(Op.BLOCK)
        if is_map:
            self.emit(Op.BYTES)
        self.add(avro_type["values" if is_map else "items"], _DEEP)
        self.emit(Op.AGAIN, block)
        self.rows[block][1] = len(self.rows)

    def _union(self, branches: list[Any], path: tuple[str, ...]) -> None:
        first = self.emit(Op.UNION, 0, len(branches))
        jumps = [self.emit(Op.JUMP) for _ in branches]  # one per branch, right after the UNION
        ends = []
        for jump, branch in zip(jumps, branches, strict=True):
            self.rows[jump][1] = len(self.rows)
            is_null = branch in ("null", {"type": "null"})
            if path == _CONTEXT and not is_null:
                self.emit(Op.SET, Slot.CONTEXT, 1)
            if path == _EVENT_TIME and is_null:
                self.emit(Op.SET, Slot.EVENT_STATED, 2)
            self.add(branch, _EVENT_TIME if path == _EVENT_TIME and not is_null else _DEEP)
            ends.append(self.emit(Op.JUMP))
        for end in ends:
            self.rows[end][1] = len(self.rows)
        self.rows[first][1] = first + 1


_DEEP: Final = ("", "")  # inside an array, a map or a union: no value is stored from there


def build_program(parsed: AvroSchema) -> NDArray[np.int64] | None:
    """The program for a parsed writer's schema, int64 ``[n, 3]``: op, a, b.

    None if the reference decoder must read its records.
    """
    assembler = _Assembler()
    try:
        assembler.add(parsed)
    except _Unusual:
        return None
    if assembler.taken != _WANTED.keys():
        return None
    assembler.emit(Op.END)
    return np.array(assembler.rows, np.int64)
