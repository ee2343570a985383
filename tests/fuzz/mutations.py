"""Ways to damage bytes; each takes a generator and bytes, and returns bytes."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

Mutation = Callable[[random.Random, bytes], bytes]

_BYTES: Final = (b"\x00", b"\x01", b"\x02", b"\x7f", b"\x80", b"\xff", b"\xc3", b'"', b"{", b"\\")
_VARINTS: Final = (
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x7e",
    b"\xfe\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff" * 11,
    b"\x80" * 20,
    b"\x80\x80\x00",
)
_TOKENS: Final = (
    b"null",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-0",
    b"1e-400",
    b"9" * 40,
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b"9223372036854775808",
    b"1796000000000",
    b"-1",
    b"-9223372036854775809",
    b"0.1e",
    b"--1",
    b"01",
    b'"\xff\xfe"',
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b"[" * 2000,
    b'{"a":' * 2000,
    b'"TransactionID"',
    b"\x00",
    b"1" + b"0" * 400,
    b"0." + b"0" * 400 + b"1",
    b'"' + b"x" * 5000 + b'"',
)
_JSON_VALUE: Final = re.compile(rb'("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|null|true|false)')


def flip_bits(rng: random.Random, value: bytes) -> bytes:
    """Flip one to eight bits."""
    out = bytearray(value)
    for _ in range(rng.randint(1, 8)):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_bytes(rng: random.Random, value: bytes) -> bytes:
    """Set a few bytes to values with a special meaning."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(value))
        value = value[:at] + rng.choice(_BYTES) + value[at + 1 :]
    return value


def put_varint(rng: random.Random, value: bytes) -> bytes:
    """Overwrite or insert a length, a branch or a number with an extreme value."""
    at = rng.randint(0, len(value))
    return value[:at] + rng.choice(_VARINTS) + value[at + rng.randint(0, 3) :]


def cut(rng: random.Random, value: bytes) -> bytes:
    """Truncate."""
    return value[: rng.randint(0, len(value))]


def drop(rng: random.Random, value: bytes) -> bytes:
    """Remove a piece of the middle."""
    at = rng.randint(0, len(value))
    return value[:at] + value[at + rng.randint(1, 16) :]


def insert(rng: random.Random, value: bytes) -> bytes:
    """Insert random bytes in the middle."""
    at = rng.randint(0, len(value))
    return value[:at] + rng.randbytes(rng.randint(1, 24)) + value[at:]


def repeat(rng: random.Random, value: bytes) -> bytes:
    """Repeat a piece, or repeat everything several times."""
    if rng.random() < 0.1:
        return value * rng.randint(2, 5)
    at, end = sorted((rng.randint(0, len(value)), rng.randint(0, len(value))))
    return value[:end] + value[at:end] + value[end:]


def replace_token(rng: random.Random, value: bytes) -> bytes:
    """Replace one JSON value or name by another; without any, change bytes."""
    found = list(_JSON_VALUE.finditer(value[:20_000]))
    if not found:
        return put_varint(rng, value)
    chosen = rng.choice(found)
    return value[: chosen.start()] + rng.choice(_TOKENS) + value[chosen.end() :]


MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip_bits,
    set_bytes,
    put_varint,
    cut,
    drop,
    insert,
    repeat,
    replace_token,
)


def mutate(rng: random.Random, value: bytes) -> bytes:
    """Apply one to three mutations, one after the other."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = rng.choice(MUTATIONS)(rng, value)
    return value


@contextmanager
def errors_only(*names: str) -> Iterator[None]:
    """Loggers that only warn about columns and rows are quiet; afterwards they are as before."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
