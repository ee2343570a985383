"""Fuzzes the files of card histories: damaged snapshots, seeds and eras, and bombs.

Each is decoded or refused with one kind of error, in bounded time and memory.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.features.history.codec import (
    decode_seed,
    decode_snapshot,
    encode_seed,
    encode_snapshot,
    read_facts,
)
from stream_scorer.model.store.history_era import decode_era, encode_era
from tests.fuzz.mutations import mutate
from tests.support.history.snapshots import ERA, WIDTHS, make_records, make_seed, make_snapshot

MAX_SECONDS: Final = 20.0
"""For one small file, also on a busy machine."""

MAX_MEMORY_BYTES: Final = 16 * 1024 * 1024
"""A block of zlib's, and the values of a header. The records of these files are a few kilobytes."""

_NAME: Final = "history/fuzzed"
_MAX_KEYS: Final = 1000
_MAX_MESSAGE_CHARS: Final = 2000
_NUMBERS: Final = (-1, 0, 1, 2, 999, 1000, 1001, 2**31 - 1, 2**31, 2**63, 2**64, 10**30, 0.5, True)
_TEXTS: Final = ("", "none", "zlib", "snapshot", "seed", "\ud800", "\x1b[2J", "../..", "f" * 64)


def fuzz_histories(files: int, seed: int, step: int = 100) -> Iterator[dict[str, int]]:
    """Decode ``files`` files; yields figures after each step.

    Raises:
        AssertionError: one gave neither records nor a refusal, or took too much time or memory.
    """
    rng = random.Random(seed)
    targets = _targets()
    decoded = 0
    tracemalloc.start()
    try:
        for number in range(files):
            base, decode = rng.choice(targets)
            content = _spoil(rng, base)
            try:
                decoded += _is_decoded(content, decode)
            except Exception as error:
                raise AssertionError(
                    f"seed {seed}, file {number}: {type(error).__name__}: {error}"
                ) from error
            if number % step == step - 1 or number == files - 1:
                done = number + 1
                yield {"files": done, "decoded": decoded, "refused": done - decoded}
    finally:
        tracemalloc.stop()


def _is_decoded(content: bytes, decode: Callable[[bytes], None]) -> bool:
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    started = time.monotonic()
    refusal = None
    try:
        decode(content)
    except ArtifactCorrupt as error:
        refusal = str(error)
    seconds = time.monotonic() - started
    used = tracemalloc.get_traced_memory()[1] - before
    assert seconds < MAX_SECONDS, f"it took {seconds:.0f} s"
    assert used < MAX_MEMORY_BYTES, f"it took {used} bytes of memory"
    if refusal is None:
        return True
    assert refusal.startswith(_NAME), f"no file is named: {refusal!r}"
    assert refusal.isprintable(), f"not safe to print: {refusal!r}"
    assert len(refusal) < _MAX_MESSAGE_CHARS, f"{len(refusal)} characters: {refusal[:200]!r}"
    return False


def _snapshot(content: bytes) -> None:
    found = decode_snapshot(content, _NAME, WIDTHS, _MAX_KEYS)
    again = encode_snapshot(found.header, found.records, "none")
    facts = read_facts(again, _NAME)
    assert facts.state == read_facts(content, _NAME).state, "the records are not those of the file"


def _seed(content: bytes) -> None:
    found = decode_seed(content, _NAME, WIDTHS)
    again = decode_seed(encode_seed(found.header, found.records), _NAME, WIDTHS)
    assert again.header == found.header
    assert again.body.sha256 == found.body.sha256, "the records are not those of the file"


def _head(content: bytes) -> None:
    read_facts(content, _NAME)


def _era(content: bytes) -> None:
    era = decode_era(content, _NAME)
    assert decode_era(encode_era(era), _NAME) == era


def _targets() -> list[tuple[bytes, Callable[[bytes], None]]]:
    records = make_records(20)
    return [
        (make_snapshot(records=records, compression="none"), _snapshot),
        (make_snapshot(records=records), _snapshot),
        (make_snapshot(records=make_records(0)), _snapshot),
        (make_seed(records), _seed),
        (make_snapshot(records=records), _head),
        (encode_era(ERA), _era),
    ]


def _spoil(rng: random.Random, content: bytes) -> bytes:
    drawn = rng.random()
    line, end, body = content.partition(b"\n")
    if drawn < 0.05 or not end:
        return content
    if drawn < 0.3:
        return mutate(rng, content)
    if drawn < 0.5:
        return mutate(rng, line) + end + body
    try:
        header = json.loads(line)
    except ValueError:  # an era has several lines
        return mutate(rng, content)
    if drawn < 0.75:
        _edit(rng, header)
    else:
        body = _repaired(rng, header, body)
    return json.dumps(header).encode() + end + body


def _repaired(rng: random.Random, header: dict[str, Any], body: bytes) -> bytes:
    """Another body, with a header that fits it: only the checks behind the digest are left."""
    raw = zlib.decompress(body) if header["body"]["compression"] == "zlib" else body
    kind = rng.choice(("zlib", "none"))
    if rng.random() < 0.3:
        kind, stored = "zlib", _bomb(rng.choice((1, 100_000, 1 << 25)))
    else:
        raw = mutate(rng, raw) if rng.random() < 0.8 else raw
        stored = zlib.compress(raw, rng.choice((1, 9))) if kind == "zlib" else raw
    if rng.random() < 0.2:
        stored = mutate(rng, stored)
    sha256 = hashlib.sha256(raw).hexdigest()
    header["body"] = {"sha256": sha256, "bytes": len(stored), "compression": kind}
    return stored


@cache
def _bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _edit(rng: random.Random, header: dict[str, Any]) -> None:
    for _ in range(rng.choice((1, 1, 2, 4))):
        holder = rng.choice([header, header, header["body"], *header["spaces"]] if _is_whole(header)
                            else [header])  # fmt: skip
        if not holder:
            continue
        name = rng.choice(list(holder))
        drawn = rng.random()
        if drawn < 0.15:
            del holder[name]
        elif drawn < 0.6:
            holder[name] = rng.choice(_NUMBERS)
        elif drawn < 0.9:
            holder[name] = rng.choice(_TEXTS)
        else:
            holder[name] = rng.choice((None, [], {}, [[]], [{}] * 70, {"sha256": None}))


def _is_whole(header: dict[str, Any]) -> bool:
    spaces = header.get("spaces")
    return (
        isinstance(header.get("body"), dict)
        and isinstance(spaces, list)
        and all(isinstance(space, dict) for space in spaces)
    )
