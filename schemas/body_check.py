"""Checks that a body follows its writer's schema, byte by byte, whatever its schema is.

The reference decoder (fastavro) accepts what the specification does not allow: a negative union
index, an integer of more than 64 bits, a boolean of 7. So that all decoders follow one rule, the
one of the compiled loop, every body is checked here before the reference decoder reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.contracts import AvroSchema

# Copies of schemas.body_faults: machine code is cached by this file's time alone.
_TRUNCATED, _TRAILING, _BAD_BRANCH, _BAD_VARINT, _BAD_LENGTH = 1, 2, 3, 4, 5
_BAD_BOOLEAN, _INCOMPATIBLE, _BAD_SYMBOL = 6, 7, 11
_EMPTY, _BOOLEAN, _VARINT, _FIXED, _BYTES, _ENUM, _UNION, _RECORD, _ARRAY, _REFUSED = range(10)
_LONG: Final = 0  # the first node is always a long
_STACK: Final = 1024  # parse_writer allows 200 levels, and a map's item takes three
_PRIMITIVES: Final = {
    "null": (_EMPTY, 0),
    "boolean": (_BOOLEAN, 0),
    "int": (_VARINT, 0),
    "long": (_VARINT, 0),
    "float": (_FIXED, 4),
    "double": (_FIXED, 8),
    "string": (_BYTES, 0),
    "bytes": (_BYTES, 0),
}


class CheckProgram(NamedTuple):
    """A schema as a graph: node ``i`` has ``children_of[i]`` children from ``first[i]`` on."""

    names: tuple[str, ...]  # of the record's fields
    root: int
    kind: NDArray[np.int64]
    size: NDArray[np.int64]
    first: NDArray[np.int64]
    children_of: NDArray[np.int64]
    children: NDArray[np.int64]


def build_check(schema: AvroSchema, usable: Sequence[Sequence[bool]] | None = None) -> CheckProgram:
    """The program for a record's schema as :func:`schemas.writer_schema.parse_writer` returns it.

    ``usable`` gives for each field whether its branches can be read; a record that has another is
    refused.
    """
    nodes = _Nodes()
    return nodes.program(schema, usable or [[True] * 1_000_000] * len(schema["fields"]))


class _Nodes:
    def __init__(self) -> None:
        self._rows: list[tuple[int, int, list[int]]] = [(_VARINT, 0, [])]
        self._named: dict[str, int] = {}

    def program(self, schema: AvroSchema, usable: Sequence[Sequence[bool]]) -> CheckProgram:
        fields = schema["fields"]
        root = self._add(_RECORD, 0)
        self._named[schema["name"]] = root
        for field, flags in zip(fields, usable, strict=True):
            self._rows[root][2].append(self._field(field["type"], flags))
        kids = [row[2] for row in self._rows]
        count = np.array([len(k) for k in kids], np.int64)
        return CheckProgram(
            tuple(field["name"] for field in fields),
            root,
            np.array([row[0] for row in self._rows], np.int64),
            np.array([row[1] for row in self._rows], np.int64),
            np.cumsum(count) - count,
            count,
            np.array([k for row in kids for k in row], np.int64),
        )

    def _add(self, kind: int, size: int, *children: int) -> int:
        self._rows.append((kind, size, list(children)))
        return len(self._rows) - 1

    def _field(self, avro_type: Any, usable: Sequence[bool]) -> int:
        if not isinstance(avro_type, list):
            return self._node(avro_type)
        # A branch may define a type that a later field names, so it is built in any case.
        built = [self._node(branch) for branch in avro_type]
        refused = self._add(_REFUSED, 0)
        return self._add(
            _UNION, 0, *(b if u else refused for b, u in zip(built, usable, strict=False))
        )

    def _node(self, avro_type: Any) -> int:
        if isinstance(avro_type, list):
            return self._add(_UNION, 0, *(self._node(branch) for branch in avro_type))
        if isinstance(avro_type, str):
            if avro_type in self._named:
                return self._named[avro_type]
            return self._named.setdefault(avro_type, self._add(*_PRIMITIVES[avro_type]))
        kind = avro_type["type"]
        if kind == "array":
            return self._add(_ARRAY, 0, self._node(avro_type["items"]))
        if kind == "map":
            item = self._add(_RECORD, 0, self._node("string"), self._node(avro_type["values"]))
            return self._add(_ARRAY, 0, item)
        if kind == "enum":
            made = self._add(_ENUM, max(1, len(avro_type["symbols"])))
        elif kind == "fixed":
            made = self._add(_FIXED, avro_type["size"])
        elif kind in ("record", "error"):
            fields = [self._node(field["type"]) for field in avro_type["fields"]]
            made = self._add(_RECORD, 0, *fields)
        else:
            return self._node(kind)
        self._named[avro_type["name"]] = made
        return made


@compiled
def check_bodies(  # noqa: C901 - one compiled loop: a call for each value would cost more
    buf: NDArray[np.uint8],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    root: int,
    kind: NDArray[np.int64],
    size: NDArray[np.int64],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    children: NDArray[np.int64],
    error: NDArray[np.int64],
    where: NDArray[np.int64],
) -> None:
    """Write the error code of ``buf[begin[i]:end[i]]`` to ``error[i]``, and where it is."""
    nodes = np.zeros(_STACK, np.int64)
    done = np.zeros(_STACK, np.int64)  # of a record's fields, or the items left in a block
    for i in range(begin.shape[0]):
        p = int(begin[i])
        stop = int(end[i])
        nodes[0] = root
        done[0] = 0
        depth = 1
        code = 0
        field = -1
        while depth > 0 and code == 0:
            top = depth - 1
            node = nodes[top]
            what = kind[node]
            if what == _RECORD:
                at = done[top]
                if at == count[node]:
                    depth -= 1
                    continue
                done[top] = at + 1
                if depth == 1:
                    field = at
                nodes[depth] = children[first[node] + at]
                done[depth] = 0
                depth += 1
                continue
            if what == _ARRAY and done[top] > 0:
                done[top] -= 1
                nodes[depth] = children[first[node]]
                done[depth] = 0
                depth += 1
                continue
            if what == _REFUSED:
                code = _INCOMPATIBLE
                continue
            if what == _EMPTY:
                depth -= 1
                continue
            if what in (_BOOLEAN, _FIXED):
                width = 1 if what == _BOOLEAN else size[node]
                if p + width > stop:
                    code = _TRUNCATED
                elif what == _BOOLEAN and buf[p] > 1:
                    code = _BAD_BOOLEAN
                p += width
                depth -= 1
                continue
            # All others begin with a zig-zag varint: its magnitude up to 2^55, and its sign.
            low = 0
            is_negative = False
            is_large = False
            shift = 0
            while True:
                if p >= stop:
                    code = _TRUNCATED
                    break
                byte = int(buf[p])
                p += 1
                if shift == 0:
                    is_negative = (byte & 1) == 1
                if shift < 56:
                    low |= (byte & 0x7F) << shift
                elif (byte & 0x7F) != 0:
                    is_large = True
                if byte < 0x80:
                    if shift == 63 and byte > 1:
                        code = _BAD_VARINT
                    break
                shift += 7
                if shift > 63:
                    code = _BAD_VARINT
                    break
            if code != 0:
                continue
            half = low >> 1
            is_wrong = is_negative or is_large
            if what == _VARINT:
                depth -= 1
            elif what == _BYTES:
                if is_wrong or half > stop - p:
                    code = _BAD_LENGTH
                    continue
                p += half
                depth -= 1
            elif what == _ENUM:
                if is_wrong or half >= size[node]:
                    code = _BAD_SYMBOL
                depth -= 1
            elif what == _UNION:
                if is_wrong or half >= count[node]:
                    code = _BAD_BRANCH
                    continue
                nodes[top] = children[first[node] + half]
                done[top] = 0
            else:  # a block of an array: a negative count is followed by the block's size in bytes
                if is_negative:
                    half += 1
                if is_large or half > stop - p:  # an item has at least one byte
                    code = _BAD_LENGTH
                elif half == 0:
                    depth -= 1
                else:
                    done[top] = half
                    if is_negative:
                        nodes[depth] = _LONG
                        done[depth] = 0
                        depth += 1
        if code == 0 and p != stop:
            code = _TRAILING
            field = -1
        error[i] = code
        where[i] = field


def find_fault(program: CheckProgram, body: bytes) -> tuple[int, str]:
    """The error code of one body, 0 for none, and the name of the field it is in."""
    begin, end = np.array([0]), np.array([len(body)])
    error, where = np.zeros(1, np.int64), np.zeros(1, np.int64)
    check_bodies(np.frombuffer(body, np.uint8), begin, end, *program[1:], error, where)
    at = int(where[0])
    return int(error[0]), program.names[at] if at >= 0 else "the record"
