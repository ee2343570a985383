"""Snapshots and seeds as bytes: what comes back, what is refused, and what a digest cannot find."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.features.history import codec, header
from stream_scorer.features.history.codec import (
    decode_seed,
    decode_snapshot,
    encode_snapshot,
    most_keys,
    read_facts,
)
from stream_scorer.features.history.header import Compression
from stream_scorer.features.history.records import PartitionRecords
from tests.support.features.history_streams import same_records
from tests.support.history.snapshots import (
    NOW,
    SPEC,
    WIDTHS,
    edit_header,
    make_header,
    make_records,
    make_seed,
    make_snapshot,
    plain_sum,
)

NAME = "history/x.snap in memory://"
BOTH = pytest.mark.parametrize("compression", ["zlib", "none"])


def refusal(content: bytes, widths: dict[str, int] | None = None, max_keys: int = 1000) -> str:
    with pytest.raises(ArtifactCorrupt) as caught:
        decode_snapshot(content, NAME, widths or WIDTHS, max_keys)
    assert caught.value.__cause__ is None
    message = str(caught.value)
    assert message.startswith(f"{NAME} cannot be used: ")
    assert message.endswith(
        "delete it, and an earlier snapshot and more inputs give the same history"
    )
    return message


def body_of(content: bytes) -> bytes:
    return content.partition(b"\n")[2]


def with_body(content: bytes, raw: bytes, **more: Any) -> bytes:
    """The snapshot with this uncompressed body, and a header that fits it."""
    stored = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw), "compression": "none"}
    return edit_header(content.partition(b"\n")[0] + b"\n" + raw, body=stored | more)


@BOTH
@pytest.mark.parametrize("keys", [0, 1, 50, 5000])
def test_snapshot_comes_back_bit_for_bit(keys: int, compression: Compression) -> None:
    records = make_records(keys)
    made = make_header(records)
    content = encode_snapshot(made, records, compression)
    found = decode_snapshot(content, NAME, WIDTHS)
    assert found.header == made
    assert same_records(found.records, records)
    assert [words.dtype for words in found.records.spaces.values()] == [np.uint64, np.uint64]
    assert all(words.flags.c_contiguous for words in found.records.spaces.values())
    assert found.body.compression == compression
    assert read_facts(content[: header.HEADER_MAX_BYTES], NAME) == (found.header, found.body)


@BOTH
def test_state_of_blocks_larger_than_those_zlib_gets_comes_back(
    compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "_BLOCK_BYTES", 1000)
    records = make_records(500)
    content = encode_snapshot(make_header(records), records, compression)
    assert len(content) > 20_000
    assert same_records(decode_snapshot(content, NAME, WIDTHS).records, records)


def test_partition_without_a_row_has_a_clock_of_minus_one() -> None:
    empty = PartitionRecords(-1, make_records(0).spaces)
    found = decode_snapshot(encode_snapshot(make_header(empty), empty), NAME, WIDTHS)
    assert found.records.clock == -1
    assert [len(words) for words in found.records.spaces.values()] == [0, 0]


def test_seed_comes_back_and_depends_on_its_records_alone() -> None:
    records = make_records(200)
    content = make_seed(records)
    assert content == make_seed(records)
    found = decode_seed(content, NAME, WIDTHS)
    assert (found.header.spec, found.header.as_of) == (SPEC, 86_400)
    assert same_records(found.records, records)


def test_writers_differ_in_three_members_and_in_compression_alone() -> None:
    records = make_records()
    one = encode_snapshot(make_header(records), records, "none")
    later = NOW.replace(day=1, microsecond=77)
    made = make_header(records, writer="another", created=later, dead_letter_offset=8)
    two = encode_snapshot(made, records, "zlib")
    facts = [read_facts(content, NAME) for content in (one, two)]
    assert facts[0].state == facts[1].state
    members = [json.loads(content.partition(b"\n")[0]) for content in (one, two)]
    differing = {name for name in members[0] if members[0][name] != members[1][name]}
    assert differing == {"writer", "created", "dead_letter_offset", "body"}
    assert members[0]["body"]["sha256"] == members[1]["body"]["sha256"]
    assert members[1]["created"] == "2026-01-01T12:00:00Z"


@pytest.mark.parametrize("change", ["record", "clock", "check sum", "keys"])
def test_another_state_is_seen_in_the_header(change: str) -> None:
    records = make_records()
    facts = read_facts(make_snapshot(records=records), NAME)
    if change == "record":
        records.spaces["card"][7, 4] ^= np.uint64(1)
    elif change == "keys":
        records.spaces["card"] = records.spaces["card"][:-1]
    moved = records._replace(clock=records.clock + 1) if change == "clock" else records
    check_sum = facts.header.check_sum ^ int(change == "check sum")
    other = read_facts(make_snapshot(records=moved, check_sum=check_sum), NAME)
    assert other.state != facts.state


# --- what is altered in the store


@BOTH
def test_altered_record_is_found_by_the_digest(compression: Compression) -> None:
    """Negative control: one record of a snapshot altered."""
    content = make_snapshot(compression=compression)
    raw = body_of(make_snapshot(compression="none"))
    altered = bytearray(raw)
    altered[-8] ^= 1
    stored = bytes(altered) if compression == "none" else zlib.compress(bytes(altered), 1)
    line = json.loads(content.partition(b"\n")[0])
    body = line["body"] | {"bytes": len(stored)}
    whole = edit_header(content.partition(b"\n")[0] + b"\n" + stored, body=body)
    assert "its records differ from those that were written (sha256)" in refusal(whole)


def test_altered_record_with_a_new_digest_is_found_by_the_check_sum() -> None:
    """Negative control: a digest proves nothing against somebody who writes a new one."""
    records = make_records()
    content = make_snapshot(records=records, compression="none")
    intact = decode_snapshot(content, NAME, WIDTHS)
    assert plain_sum(intact.records) == intact.header.check_sum
    altered = bytearray(body_of(content))
    altered[-8] ^= 1
    found = decode_snapshot(with_body(content, bytes(altered)), NAME, WIDTHS)
    assert found.header.check_sum == intact.header.check_sum
    assert plain_sum(found.records) != found.header.check_sum


def test_altered_clock_is_found_by_the_check_sum() -> None:
    content = make_snapshot()
    clock = decode_snapshot(content, NAME, WIDTHS).records.clock
    found = decode_snapshot(edit_header(content, clock=clock + 1), NAME, WIDTHS)
    assert plain_sum(found.records) != found.header.check_sum


@BOTH
def test_every_cut_is_refused(compression: Compression) -> None:
    content = make_snapshot(records=make_records(3), compression=compression)
    whole = decode_snapshot(content, NAME, WIDTHS)
    assert len(whole.records.spaces["client"]) == 3
    for end in range(len(content)):
        refusal(content[:end])


@BOTH
def test_bytes_after_the_records_are_refused(compression: Compression) -> None:
    content = make_snapshot(compression=compression)
    assert "bytes after its header, which announces" in refusal(content + b"\0")
    announced = json.loads(content.partition(b"\n")[0])["body"]
    longer = announced | {"bytes": announced["bytes"] + 1}
    refusal(edit_header(content + b"\0", body=longer))


def test_bytes_after_the_end_of_a_compressed_body_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = make_snapshot()
    announced = json.loads(content.partition(b"\n")[0])["body"]
    for more in (b"\0", zlib.compress(b"more"), b"\0" * 5000):
        longer = announced | {"bytes": announced["bytes"] + len(more)}
        whole = edit_header(content + more, body=longer)
        assert "it has bytes after the end of its records" in refusal(whole)
        with monkeypatch.context() as patch:  # the end of the records is the end of a block
            patch.setattr(codec, "_BLOCK_BYTES", announced["bytes"])
            assert "it has bytes after the end of its records" in refusal(whole)


def test_records_out_of_order_are_refused_also_with_a_right_digest() -> None:
    records = make_records(8)
    content = make_snapshot(records=records)
    clients = records.spaces["client"]
    rest = records.spaces["card"].tobytes()
    swapped = clients[[0, 1, 3, 2, 4, 5, 6, 7]].tobytes() + rest
    assert "record 3 of client is not after the one before it" in refusal(
        with_body(content, swapped)
    )
    doubled = clients[[0, 1, 2, 3, 4, 5, 6, 6]].tobytes() + rest
    assert "record 7 of client is not after the one before it" in refusal(
        with_body(content, doubled)
    )


def test_cards_are_ordered_as_signed_numbers_and_hashes_as_unsigned() -> None:
    rows = [(-2, 5), (-1, 2**63 + 1), (0, 0), (0, 2**63), (7, 1)]
    words = np.zeros((5, 2), np.uint64)
    words[:, 0] = np.array([card for card, _ in rows], np.int64).view(np.uint64)
    words[:, 1] = [rest for _, rest in rows]
    records = PartitionRecords(0, {"card": words})
    content = encode_snapshot(make_header(records), records)
    assert same_records(decode_snapshot(content, NAME, {"card": 2}).records, records)
    with pytest.raises(ValueError, match="record 1 of card is not after"):
        encode_snapshot(make_header(records), PartitionRecords(0, {"card": words[::-1]}))


# --- sizes


def test_bomb_is_refused_before_it_is_unpacked() -> None:
    """A small object announces, or unpacks to, far more than it should."""
    content = make_snapshot(records=make_records(4))
    facts = read_facts(content, NAME)
    huge = zlib.compress(bytes(1 << 25), 1)
    bomb = edit_header(
        content.partition(b"\n")[0] + b"\n" + huge,
        body={"sha256": facts.body.sha256, "bytes": len(huge), "compression": "zlib"},
    )
    spaces = [{"name": n, "keys": 2_000_000, "width": w} for n, w in WIDTHS.items()]
    tracemalloc.start()
    try:
        assert f"unpacks to more than the announced {facts.body.bytes} bytes" in refusal(bomb)
        announced = refusal(edit_header(content, spaces=spaces), max_keys=2_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "cannot be the 272000000 bytes of records that its header announces" in announced
    assert peak < 5_000_000


def test_sizes_are_checked_against_the_era_the_spec_and_the_limit() -> None:
    content = make_snapshot(records=make_records(20))
    assert "it has 20 client keys; the limit is 19" in refusal(content, max_keys=19)
    other = {"client": 12, "card": 6}
    assert (
        "its key spaces are client with 12 words, card with 5 words, not client with 12 words, "
        "card with 6 words" in refusal(content, other)
    )
    assert "its key spaces are" in refusal(content, {"card": 5, "client": 12})
    none = edit_header(content, spaces=[])
    assert "its key spaces are none, not client" in refusal(none)
    large = [{"name": name, "keys": 2**31 - 1, "width": 4096} for name in WIDTHS]
    wide = dict.fromkeys(WIDTHS, 4096)
    assert f"the limit is {header.BODY_MAX_BYTES}" in refusal(
        edit_header(content, spaces=large), wide, 2**31 - 1
    )


def test_uncompressed_sizes_must_agree() -> None:
    content = make_snapshot(compression="none")
    spaces = [{"name": name, "keys": 49, "width": width} for name, width in WIDTHS.items()]
    assert "cannot be the" in refusal(edit_header(content, spaces=spaces))


def test_compressed_body_that_is_too_short_is_refused() -> None:
    content = make_snapshot()
    short = zlib.compress(body_of(make_snapshot(compression="none"))[:-8], 1)
    body = json.loads(content.partition(b"\n")[0])["body"] | {"bytes": len(short)}
    whole = edit_header(content.partition(b"\n")[0] + b"\n" + short, body=body)
    assert "it unpacks to 6792 bytes, not to the announced 6800" in refusal(whole)
    garbage = edit_header(
        content.partition(b"\n")[0] + b"\nnot zlib at all", body=body | {"bytes": 15}
    )
    assert "cannot be" in refusal(garbage)


def test_compressed_body_without_its_end_is_refused() -> None:
    """All records are there, but zlib's own check sum is cut off."""
    content = make_snapshot()[:-4]
    body = json.loads(content.partition(b"\n")[0])["body"]
    whole = edit_header(content, body=body | {"bytes": body["bytes"] - 4})
    assert "it ends after 6800 of 6800 bytes, unpacked" in refusal(whole)


def test_state_too_large_for_any_reader_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "BODY_MAX_BYTES", 1000)
    with pytest.raises(StoreError, match=r"partition 1 at offset 25 has 6800 bytes.*MAX_KEYS"):
        make_snapshot()
    with pytest.raises(StoreError, match="the seed has"):
        make_seed()


def test_most_keys_of_an_era_fit_into_a_snapshot() -> None:
    default = {"client": 39, "card": 24, "mail": 20}
    most = most_keys(default)
    assert most > 3_000_000
    assert most * sum(default.values()) * 8 <= header.BODY_MAX_BYTES
    assert most_keys({"one": 2}) < 2**31


def test_records_that_are_no_table_are_not_written() -> None:
    flat = PartitionRecords(0, {"card": np.zeros(3, np.uint64)})
    with pytest.raises(ValueError, match="not rows of at least two words"):
        encode_snapshot(make_header(make_records()), flat)


def test_memory_that_does_not_suffice_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    content = make_snapshot()
    monkeypatch.setattr("stream_scorer.features.history.codec.np.empty", refuse)
    with pytest.raises(ArtifactCorrupt, match="does not fit into memory"):
        decode_snapshot(content, NAME, WIDTHS)


# --- headers


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "it has format 2, and this release reads format 1"),
        ({"format": "1"}, "format is '1', not a whole number"),
        ({"kind": "seed"}, "it is a seed, not a snapshot"),
        ({"kind": "model"}, "kind is 'model', not snapshot or seed"),
        ({"base": "x"}, "it holds only the differences to another snapshot"),
        ({"spec": SPEC[:-1]}, "spec is '0123"),
        ({"spec": SPEC[:-1] + "\n"}, r"\n', not 64 hexadecimal digits"),
        ({"era": 0}, "era is 0, not a whole number from 1"),
        ({"era": True}, "era is True, not a whole number"),
        ({"era": 3.0}, "era is 3.0, not a whole number"),
        ({"era_id": ""}, "era_id is '', not 32 hexadecimal digits"),
        ({"topic": "a/b"}, "topic is 'a/b', not the name of a topic"),
        ({"topic_id": "x;y"}, "topic_id is 'x;y', not a topic id"),
        ({"partition": 3}, "partition is 3, not a whole number from 0 to 2"),
        ({"partition_count": 0}, "partition_count is 0"),
        ({"next_offset": -1}, "next_offset is -1"),
        ({"next_offset": 2**63}, "next_offset is 9223372036854775808"),
        ({"dead_letter_offset": None}, "dead_letter_offset is None"),
        ({"check_sum": "0xabc"}, "check_sum is '0xabc', not 16 hexadecimal digits"),
        ({"writer": "x" * 201}, "writer is 'xxx"),
        ({"writer": ["x"]}, "writer is a list, not a text"),
        ({"created": "2026-02-31T00:00:00Z"}, "not a time such as"),
        ({"created": "2026-01-31T12:00:00+00:00"}, "not a time such as"),
        ({"clock": -2}, "clock is -2, not a whole number from -1"),
        ({"clock": 2**32}, "clock is 4294967296"),
        ({"spaces": {}}, "spaces is a dict, not a list"),
        ({"spaces": [7]}, "spaces is a list, not a list of objects"),
        ({"spaces": [{"name": "card"}]}, "spaces[0].keys is missing"),
        ({"spaces": [{"name": "card", "keys": 1, "width": 1}]}, "spaces[0].width is 1"),
        ({"spaces": [{}] * 65}, "a list of at most 64 objects"),
        ({"body": None}, "body is None, not an object"),
        ({"body": {"sha256": "ab"}}, "body.sha256 is 'ab'"),
    ],
)
def test_wrong_member_of_the_header_is_named(change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(edit_header(make_snapshot(), **change))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "contain no header line"),
        (b"{}" + b" " * header.HEADER_MAX_BYTES + b"\n", "contain no header line"),
        (b"{}\n", "kind is missing"),
        (b"[]\n", "its header cannot be read: it is not a JSON object"),
        (b'{"kind": "snapshot", "kind": "seed"}\n', "it has the key 'kind' twice"),
        (b"\xff\xfe\n", "its header cannot be read"),
        (b"[" * 60_000 + b"\n", "its header cannot be read"),
        (b'{"format": ' + b"9" * 5000 + b"}\n", "its header cannot be read"),
    ],
)
def test_bytes_that_are_no_snapshot_are_refused(content: bytes, expected: str) -> None:
    assert expected in refusal(content)


def test_members_of_a_later_release_are_ignored() -> None:
    content = edit_header(make_snapshot(), zone="a", body_color=[1])
    assert same_records(decode_snapshot(content, NAME, WIDTHS).records, make_records(seed=1025))


def test_text_of_the_header_is_safe_to_print() -> None:
    found = decode_snapshot(edit_header(make_snapshot(), writer="a\x1b[2Jb"), NAME, WIDTHS)
    assert found.header.writer == r"a\x1b[2Jb"
    assert "\x1b" not in refusal(edit_header(make_snapshot(), topic="\x1b[2J"))


def test_seed_is_refused_as_a_snapshot_and_a_snapshot_as_a_seed() -> None:
    assert "it is a seed, not a snapshot" in refusal(make_seed())
    with pytest.raises(ArtifactCorrupt, match=r"it is a snapshot, not a seed; copy it from a"):
        decode_seed(make_snapshot(), NAME, WIDTHS)


def test_header_that_could_not_be_read_again_is_not_written() -> None:
    records = make_records()
    good = make_header(records)
    for wrong in (replace(good, spec="short"), replace(good, partition=3), replace(good, era=0)):
        with pytest.raises(ValueError, match=r"spec is|partition is|era is"):
            encode_snapshot(wrong, records)
    with pytest.raises(ValueError, match="not the header of a snapshot"):
        encode_snapshot(replace(good, writer="\x1b"), records)
