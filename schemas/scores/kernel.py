"""The compiled loop that runs a :mod:`schemas.scores.program` over many scores."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

# The result of a row.
READ: Final = 0
OTHER_HEAD: Final = 1  # its framing or schema is not the program's
UNREADABLE: Final = 2  # by this program; the reference decoder decides
TRAILING: Final = 3  # read, but bytes are left over after the last field

# Copies of program.Op and Slot: the compiler needs plain integers.
_END, _VARINT, _FIXED, _BYTES, _UNION, _JUMP, _BLOCK, _AGAIN = 0, 1, 2, 3, 4, 5, 6, 7
_TAKE_VARINT, _TAKE_FIXED, _PEEK, _SET = 8, 10, 11, 12
_MOST_NESTED: Final = 16  # nested arrays and maps; our schema has one level


@inlined
def _read_varint(buf: Any, p: int, end: int) -> Any:
    """Zig-zag varint at ``p``: (value, next position); the position is -1 if it is invalid."""
    value = 0
    for shift in range(0, 64, 7):
        if p >= end:
            return 0, -1
        byte = int(buf[p])
        p += 1
        if shift == 63 and byte > 1:  # more than 64 bits
            return 0, -1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            # Bit 63 may be set by now, so the mask makes the right shift unsigned.
            return ((value >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(value & 1), p
    return 0, -1


@compiled
def find_sources(  # noqa: C901 - one compiled loop: a call for each field would cost more
    buf: NDArray[Any],
    starts: NDArray[Any],
    head: NDArray[Any],
    program: NDArray[Any],
    stack: NDArray[Any],
    places: NDArray[Any],
    states: NDArray[Any],
) -> None:
    """Fill ``places`` (int64 ``[n, SLOTS]``) and ``states`` (uint8 ``[n]``).

    Args:
        buf: the concatenated values, uint8.
        starts: where each value starts, and the end of the last, int64 ``[n + 1]``.
        head: the bytes each value must start with, uint8.
        program: int64 ``[m, 3]``.
        stack: space for the counts of nested blocks, int64.
        places: output.
        states: output.
    """
    n_head = len(head)
    for i in range(len(states)):
        p, end = starts[i], starts[i + 1]
        states[i] = READ
        if end - p < n_head:
            states[i] = OTHER_HEAD
            continue
        for k in range(n_head):
            if buf[p + k] != head[k]:
                states[i] = OTHER_HEAD
        if states[i] == OTHER_HEAD:
            continue
        p += n_head
        pc, depth = 0, 0
        while True:
            op, a = program[pc, 0], program[pc, 1]
            pc += 1
            if op == _END:
                if p != end:
                    states[i] = TRAILING
                break
            if op == _SET:
                places[i, a] = program[pc - 1, 2]
                continue
            if op == _PEEK:
                value, after = _read_varint(buf, p, end)
                if after < 0:
                    states[i] = UNREADABLE
                    break
                places[i, a] = value
                continue
            if op == _JUMP:
                pc = a
                continue
            if op == _FIXED:
                p += a
            elif op == _TAKE_FIXED:
                width = program[pc - 1, 2]
                if width > end - p:
                    states[i] = UNREADABLE
                    break
                value = 0
                for k in range(width):
                    value |= int(buf[p + k]) << (8 * k)
                places[i, a] = value
                p += width
            elif op == _AGAIN:
                stack[depth - 1] -= 1
                if stack[depth - 1] > 0:
                    pc = a + 1
                else:
                    depth -= 1
                    pc = a
                continue
            else:  # all others start with a varint
                value, p = _read_varint(buf, p, end)
                if p < 0:
                    states[i] = UNREADABLE
                    break
                if op == _UNION:
                    if value < 0 or value >= program[pc - 1, 2]:
                        states[i] = UNREADABLE
                        break
                    pc = a + value
                elif op == _BLOCK:
                    if value == 0:
                        pc = a
                    elif value < 0:  # the block's size follows: skip the block
                        size, p = _read_varint(buf, p, end)
                        if p < 0 or size < 0 or size > end - p:
                            states[i] = UNREADABLE
                            break
                        p += size
                        pc -= 1
                    elif depth == len(stack):
                        states[i] = UNREADABLE
                        break
                    else:
                        stack[depth] = value
                        depth += 1
                elif op == _TAKE_VARINT:
                    places[i, a] = value
                elif op != _VARINT:  # BYTES or TAKE_BYTES
                    if value < 0 or value > end - p:
                        states[i] = UNREADABLE
                        break
                    if op != _BYTES:
                        places[i, a] = p
                        places[i, a + 1] = value
                    p += value
            if p > end:
                states[i] = UNREADABLE
                break


@compiled
def equal_texts(
    buf: NDArray[Any],
    begins: NDArray[Any],
    lengths: NDArray[Any],
    wanted: NDArray[Any],
    is_equal: Any,
) -> None:
    """Set ``is_equal`` (bool ``[n]``) where the text in ``buf`` equals ``wanted``."""
    for i in range(len(begins)):
        is_equal[i] = lengths[i] == len(wanted)
        if is_equal[i]:
            for k in range(len(wanted)):
                if buf[begins[i] + k] != wanted[k]:
                    is_equal[i] = False
                    break


@compiled
def changed_texts(
    buf: NDArray[Any], begins: NDArray[Any], lengths: NDArray[Any], is_other: Any
) -> None:
    """Set ``is_other`` (bool ``[n]``) where the text in ``buf`` differs from the previous one."""
    for i in range(len(begins)):
        is_other[i] = i == 0 or lengths[i] != lengths[i - 1]
        if not is_other[i]:
            for k in range(lengths[i]):
                if buf[begins[i] + k] != buf[begins[i - 1] + k]:
                    is_other[i] = True
                    break
