"""Eras: strict reading of their files, and which snapshots belong to them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.features.history.codec import decode_snapshot
from stream_scorer.model.store.history_era import Era, EraSeed, decode_era, encode_era
from stream_scorer.model.store.history_names import SnapshotName, seed_key, spec_folder
from tests.support.history.snapshots import ERA, NOW, SPEC, WIDTHS, make_snapshot

NAME = "history/x.json in memory://"
DELETED = "which was deleted and created again"


def refusal(content: bytes) -> str:
    with pytest.raises(ArtifactCorrupt) as caught:
        decode_era(content, NAME)
    message = str(caught.value)
    assert message.startswith(f"{NAME} cannot be used: ")
    assert "`stream-scorer history build`" in message
    return message


@pytest.mark.parametrize(
    "era",
    [
        ERA,
        replace(ERA, seed=None, is_cold=True, topic_id=""),
        replace(ERA, begin=tuple(range(10_000)), has_base=True),
    ],
)
def test_era_comes_back_as_it_was(era: Era) -> None:
    assert decode_era(encode_era(era), NAME) == era


def test_file_of_an_era_is_for_people_too() -> None:
    assert json.loads(encode_era(ERA)) == {
        "format": 1,
        "spec": SPEC,
        "era": 3,
        "id": "00112233445566778899aabbccddeeff",
        "topic": "transactions",
        "topic_id": "5OmKoJvRQ0+a/x_-Y8fZgA",
        "partition_count": 3,
        "begin": [10, 20, 30],
        "seed": {"sha256": "ab" * 32, "as_of": 86_400},
        "max_keys": 1_000_000,
        "is_cold": False,
        "has_base": False,
        "why": "a test",
        "created": "2026-01-31T12:00:00Z",
    }


def test_each_new_era_has_an_id_of_its_own() -> None:
    def make() -> Era:
        return Era(SPEC, 1, "t", "", (0,), None, 1000, is_cold=True, why="", created=NOW)

    assert make().id != make().id
    assert decode_era(encode_era(make()), NAME).has_base is False


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "it has format 2, and this release reads format 1"),
        ({"spec": "x"}, "spec is 'x', not 64 hexadecimal digits"),
        ({"era": 1_000_000}, "era is 1000000, not a whole number from 1 to 999999"),
        ({"id": "X"}, "id is 'X', not 32 hexadecimal digits"),
        ({"topic": "../x"}, "topic is '../x', not the name of a topic"),
        ({"topic_id": 5}, "topic_id is 5, not a topic id"),
        ({"partition_count": 4}, "begin has 3 offsets for 4 partitions"),
        ({"partition_count": 10_001}, "partition_count is 10001"),
        ({"begin": [1, -1, 2]}, "begin[1] is -1, not a whole number from 0"),
        ({"begin": [1, "2", 2]}, "begin[1] is '2', not a whole number"),
        ({"begin": 7}, "begin is 7, not a list of whole numbers"),
        ({"seed": "x"}, "seed is 'x', not an object"),
        ({"seed": {"sha256": "x", "as_of": 1}}, "seed.sha256 is 'x'"),
        ({"seed": {"sha256": "a" * 64}}, "seed.as_of is missing"),
        ({"max_keys": 0}, "max_keys is 0"),
        ({"is_cold": 1}, "is_cold is 1, not true or false"),
        ({"has_base": None}, "has_base is None, not true or false"),
        ({"why": 5}, "why is 5, not a text of at most 500 characters"),
        ({"created": "yesterday"}, "created is 'yesterday', not a time such as"),
    ],
)
def test_wrong_member_of_an_era_is_named(change: dict[str, Any], expected: str) -> None:
    members = json.loads(encode_era(ERA))
    assert expected in refusal(json.dumps(members | change).encode())


@pytest.mark.parametrize("name", sorted(json.loads(encode_era(ERA))))
def test_missing_member_of_an_era_is_named(name: str) -> None:
    members = json.loads(encode_era(ERA))
    del members[name]
    assert f"{name} is missing" in refusal(json.dumps(members).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xff", b"null", b'{"a":1,"a":2}'])
def test_bytes_that_are_no_era_are_refused(content: bytes) -> None:
    refusal(content)


def test_reason_is_safe_to_print_and_bounded() -> None:
    era = decode_era(encode_era(replace(ERA, why="\x1b[2J" + "x" * 1000)), NAME)
    assert era.why.startswith(r"\x1b[2Jxxx")
    assert len(era.why) == 500


def test_era_that_could_not_be_read_again_is_not_written() -> None:
    for wrong in (
        replace(ERA, begin=()),
        replace(ERA, begin=(-1,)),
        replace(ERA, number=0),
        replace(ERA, seed=EraSeed("short", 1)),
        replace(ERA, max_keys=0),
    ):
        with pytest.raises(ValueError, match=r" is | has "):
            encode_era(wrong)


# --- what belongs to an era: negative controls


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"spec": "f" * 64},
            "of other history features (spec ffffffffffffffff, not 0123456789abcdef)",
        ),
        ({"topic": "payments"}, "of the topic payments, not transactions"),
        (
            {"topic_id": "AAAA"},
            f"of another topic of the name transactions (id AAAA, not {ERA.topic_id}), {DELETED}",
        ),
        ({"begin": (10, 20, 30, 40)}, "of a topic with 4 partitions, not 3"),
        ({"number": 2}, "of era 2, not 3"),
        ({"id": "f" * 32}, "of an era 3 that was never created, or was deleted"),
    ],
)
def test_snapshot_of_something_else_is_refused_in_a_sentence(
    change: dict[str, Any], expected: str
) -> None:
    other = replace(ERA, **change)
    snapshot = decode_snapshot(make_snapshot(era=other), NAME, WIDTHS)
    other.check(snapshot.header, 1, NAME)
    with pytest.raises(ArtifactCorrupt) as caught:
        ERA.check(snapshot.header, 1, NAME)
    assert str(caught.value) == (
        f"{NAME} cannot be used: it is {expected}; delete it, it does not belong there"
    )


def test_snapshot_of_another_partition_or_from_before_the_era_is_refused() -> None:
    found = decode_snapshot(make_snapshot(2, 30), NAME, WIDTHS).header
    ERA.check(found, 2, NAME)
    with pytest.raises(ArtifactCorrupt, match="it is of partition 2, not 1;"):
        ERA.check(found, 1, NAME)
    early = decode_snapshot(make_snapshot(2, 29), NAME, WIDTHS).header
    with pytest.raises(ArtifactCorrupt, match="it is of offset 29, and era 3 begins at 30;"):
        ERA.check(early, 2, NAME)


def test_header_of_a_snapshot_takes_what_the_era_says() -> None:
    header = ERA.header(
        1, 25, dead_letter_offset=3, check_sum=9, writer="a\x1b" + "x" * 300, created=NOW
    )
    assert (header.era, header.partition_count, header.topic_id) == (3, 3, ERA.topic_id)
    assert header.writer.startswith(r"a\x1bxxx")
    assert len(header.writer) == 200


# --- names


def test_names_are_made_of_digests_and_numbers_alone() -> None:
    assert spec_folder(SPEC) == spec_folder(SPEC[:16]) == "0123456789abcdef"
    for wrong in ("", "../..", SPEC[:17], SPEC.upper(), SPEC[:16] + "\n"):
        with pytest.raises(ValueError, match="not the fingerprint"):
            spec_folder(wrong)
        with pytest.raises(ValueError, match="not the sha256"):
            seed_key(wrong)
    assert SnapshotName("0123456789abcdef", 3, 7, 123_456_789).key == (
        "history/0123456789abcdef/000003/p00007/00000000000123456789.snap"
    )
