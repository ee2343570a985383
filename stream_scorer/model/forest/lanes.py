"""Two loops over whole vectors, for :mod:`stream_scorer.model.forest.kernel`.

numba has no vector type, and LLVM does not vectorise these loops by itself. So they are written
with LLVM's own portable vectors, which it lowers to the processor's (64 bytes at once with
AVX-512, 32 with AVX2, 16 with SSE2 or NEON). No instruction set is named, so none is required.
The loops use only integers and comparisons, so they are exact everywhere.

After a change here, put this file's new digest into ``kernel.py`` (a test prints it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

SIDE_TREES: Final = 4  # trees scanned together, so that their latencies overlap
MANY_ROWS: Final = 128  # rows of a scan: two vectors of 64 for each tree
COUNT_LANES: Final = 16  # doubles compared at once: all registers of AVX2, half of AVX-512's
MOST_COUNTED: Final = 32
"""Thresholds that :func:`count_below` compares faster than :func:`find_below` (measured)."""
_BYTE_LANES: Final = 64
_VECTORS: Final = MANY_ROWS // _BYTE_LANES

_i8, _i32, _i64, _f64 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.DoubleType()


@intrinsic  # type: ignore[untyped-decorator]
def count_below(
    _: Any,
    thresholds: Any,
    first: Any,
    last: Any,
    column: Any,
    lane: Any,
    of_nan: Any,
    codes: Any,
    to: Any,
) -> Any:
    """Count the thresholds below each of ``COUNT_LANES`` values of ``column``, from ``lane`` on.

    The counts go into ``codes`` (one-dimensional) from ``to`` on; a NaN gets ``of_nan`` (uint8).
    There must be 1 to 255 thresholds, ``thresholds[first:last]``.
    """
    signature = types.void(thresholds, *_as_int64(first, last), column, *_as_int64(lane),
                           of_nan, codes, *_as_int64(to))  # fmt: skip
    numbers, counts = ir.VectorType(_f64, COUNT_LANES), ir.VectorType(_i64, COUNT_LANES)

    def generate(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[Any]) -> Any:
        _, first, last, _, lane, of_nan, _, to = args
        thresholds, column, codes = (_pointer(context, b, signature, args, k) for k in (0, 3, 6))
        values = _load(b, b.gep(column, [lane]), numbers)
        loop = _Loop(b, first, last, [ir.Constant(counts, None)])
        threshold = _splat(b, b.load(b.gep(thresholds, [loop.index])), COUNT_LANES)
        below = b.zext(b.fcmp_ordered("<", threshold, values), counts)
        (total,) = loop.close([b.add(loop.carried[0], below)])
        code = b.trunc(total, ir.VectorType(_i8, COUNT_LANES))
        is_nan = b.fcmp_unordered("uno", values, values)
        _store(b, b.select(is_nan, _splat(b, of_nan, COUNT_LANES), code), b.gep(codes, [to]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def find_below(
    _: Any,
    thresholds: Any,
    first: Any,
    last: Any,
    column: Any,
    lane: Any,
    of_nan: Any,
    codes: Any,
    to: Any,
) -> Any:
    """The same as :func:`count_below` for many thresholds, in two steps.

    ``thresholds[first:last]`` are ascending, a multiple of ``COUNT_LANES``, and end with an
    infinity. The first step finds the block of ``COUNT_LANES`` thresholds in which a value lies:
    it compares the last threshold of each with all values. The second compares each value with all
    thresholds of its block. The infinity is below no value, so that no block is the one after
    the last.
    """
    signature = types.void(thresholds, *_as_int64(first, last), column, *_as_int64(lane),
                           of_nan, codes, *_as_int64(to))  # fmt: skip
    numbers, counts = ir.VectorType(_f64, COUNT_LANES), ir.VectorType(_i64, COUNT_LANES)

    def generate(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[Any]) -> Any:
        _, first, last, _, lane, of_nan, _, to = args
        thresholds, column, codes = (_pointer(context, b, signature, args, k) for k in (0, 3, 6))
        kept = cgutils.alloca_once(b, counts)
        values = _load(b, b.gep(column, [lane]), numbers)
        size = _i64(COUNT_LANES)
        loop = _Loop(b, _i64(0), b.udiv(b.sub(last, first), size), [ir.Constant(counts, None)])
        at = b.add(first, b.add(b.mul(loop.index, size), _i64(COUNT_LANES - 1)))
        highest = _splat(b, b.load(b.gep(thresholds, [at])), COUNT_LANES)
        below = b.zext(b.fcmp_ordered("<", highest, values), counts)
        (blocks,) = loop.close([b.add(loop.carried[0], below)])
        before = b.mul(blocks, ir.Constant(counts, [COUNT_LANES] * COUNT_LANES))
        _store(b, before, kept)
        places = b.bitcast(kept, _i64.as_pointer())
        code = b.trunc(before, ir.VectorType(_i8, COUNT_LANES))
        within = ir.Constant(ir.VectorType(_i8, COUNT_LANES), None)
        for k in range(COUNT_LANES):
            place = b.add(first, b.load(b.gep(places, [_i64(k)])))
            block = _load(b, b.gep(thresholds, [place]), numbers)
            value = _splat(b, b.load(b.gep(column, [b.add(lane, _i64(k))])), COUNT_LANES)
            mask = b.bitcast(b.fcmp_ordered("<", block, value), ir.IntType(COUNT_LANES))
            within = b.insert_element(within, b.trunc(b.ctpop(mask), _i8), _i32(k))
        is_nan = b.fcmp_unordered("uno", values, values)
        code = b.select(is_nan, _splat(b, of_nan, COUNT_LANES), b.add(code, within))
        _store(b, code, b.gep(codes, [to]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def scan_trees(_: Any, scan: Any, first: Any, last: Any, codes: Any, leaves: Any) -> Any:
    """Fill ``leaves[SIDE_TREES, MANY_ROWS]`` for a group of trees, from its steps ``first:last``.

    Every row starts at leaf 0 of each tree. A node moves the rows that are at the first leaf below
    it, and whose code exceeds its rank, to the first leaf below its right child. Nodes come after
    their parents, so these are exactly the rows that reach the node.
    """
    signature = types.void(scan, *_as_int64(first, last), codes, leaves)
    lanes = ir.VectorType(_i8, _BYTE_LANES)

    def generate(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[Any]) -> Any:
        _, first, last, _, _ = args
        scan, codes, leaves = (_pointer(context, b, signature, args, k) for k in (0, 3, 4))
        start = ir.Constant(lanes, None)
        loop = _Loop(b, first, last, [start] * (SIDE_TREES * _VECTORS))
        after = []
        for tree in range(SIDE_TREES):
            at = b.mul(loop.index, _i64(SIDE_TREES * 4))
            offset, *fields = (
                b.load(b.gep(scan, [b.add(at, _i64(tree * 4 + k))])) for k in range(4)
            )
            rank, here, there = (
                b.bitcast(_splat(b, field, _BYTE_LANES // 4), lanes) for field in fields
            )
            for vector in range(_VECTORS):
                place = b.add(b.zext(offset, _i64), _i64(vector * _BYTE_LANES))
                code = _load(b, b.gep(codes, [place]), lanes)
                leaf = loop.carried[tree * _VECTORS + vector]
                right = b.icmp_unsigned(">", code, rank)
                moves = b.and_(right, b.icmp_unsigned("==", leaf, here))
                after.append(b.select(moves, there, leaf))
        for k, leaf in enumerate(loop.close(after)):
            _store(b, leaf, b.gep(leaves, [_i64(k * _BYTE_LANES)]))
        return context.get_dummy_value()

    return signature, generate


class _Loop:
    """``for index in range(first, last)`` with carried values; it runs at least once."""

    def __init__(self, b: ir.IRBuilder, first: Any, last: Any, carried: Sequence[Any]) -> None:
        self._b, self._last = b, last
        before = b.block
        self._body = b.append_basic_block("lanes.body")
        self._end = b.append_basic_block("lanes.end")
        b.branch(self._body)
        b.position_at_end(self._body)
        self.index = b.phi(_i64)
        self.index.add_incoming(first, before)
        self.carried = [b.phi(value.type) for value in carried]
        for phi, value in zip(self.carried, carried, strict=True):
            phi.add_incoming(value, before)

    def close(self, carried: Sequence[Any]) -> Sequence[Any]:
        """End the body; returns the values carried out of the last iteration."""
        following = self._b.add(self.index, _i64(1))
        self.index.add_incoming(following, self._body)
        for phi, value in zip(self.carried, carried, strict=True):
            phi.add_incoming(value, self._body)
        self._b.cbranch(self._b.icmp_signed("<", following, self._last), self._body, self._end)
        self._b.position_at_end(self._end)
        return carried


def _as_int64(*numbers: Any) -> list[Any]:
    """int64 for each argument: numba converts the numbers."""
    return [types.int64] * len(numbers)


def _pointer(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[Any], k: int) -> Any:
    """A pointer to the first element of an array argument."""
    return context.make_array(signature.args[k])(context, b, args[k]).data


def _splat(b: ir.IRBuilder, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = b.insert_element(undefined, value, _i32(0))
    return b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_i32, lanes), None))


def _load(b: ir.IRBuilder, pointer: Any, vector: Any) -> Any:
    loaded = b.load(b.bitcast(pointer, vector.as_pointer()))
    loaded.align = 1  # numpy guarantees no more for a slice of an array
    return loaded


def _store(b: ir.IRBuilder, value: Any, pointer: Any) -> None:
    b.store(value, b.bitcast(pointer, value.type.as_pointer())).align = 1
