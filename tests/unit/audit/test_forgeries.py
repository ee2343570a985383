"""Forgeries among the records of a real pipeline: the audit names each of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from schemas.records import decode_record
from schemas.scores.writer import varint
from stream_scorer.audit.verdict import Fault
from tests.support.audit.audit_kit import faults
from tests.support.audit.forged_topics import PARTITIONS, Sent, Topics, edit_score, make_topics
from tests.support.scoring_kit import DLQ, INPUT, NOW_MS

Forge = Callable[[Topics, random.Random], None]

ERRORS: Final = "__connect.errors."
SMALLEST: Final = -(2**63)
NAN: Final = float("nan")
REASON: Final = {"feature": "C1", "value": "9", "contribution": 0.1}


def some(topics: Topics, rng: random.Random, *, is_flagged: bool | None = None) -> tuple[Any, int]:
    """The scores of a partition, and the row of one that is flagged or not."""
    scores = topics.scores(rng.randrange(PARTITIONS))
    rows = [
        row
        for row, sent in enumerate(scores)
        if is_flagged in (None, decode_record("fraud_score", sent.value)["is_flagged"])
    ]
    return scores, rng.choice(rows)


def scored(changes: dict[str, Any], *, is_flagged: bool | None = None) -> Forge:
    """Change fields of a score."""

    def forge(topics: Topics, rng: random.Random) -> None:
        scores, row = some(topics, rng, is_flagged=is_flagged)
        scores[row] = edit_score(scores[row], **changes)

    return forge


def placed(**changes: Any) -> Forge:
    """Change the source coordinates of a score."""

    def forge(topics: Topics, rng: random.Random) -> None:
        scores, row = some(topics, rng)
        source = decode_record("fraud_score", scores[row].value)["source"]
        scores[row] = edit_score(scores[row], source=source | changes)

    return forge


def bytes_of_a_score(change: Callable[[bytes], bytes | None]) -> Forge:
    """Change the bytes of a score."""

    def forge(topics: Topics, rng: random.Random) -> None:
        scores, row = some(topics, rng)
        scores[row] = replace(scores[row], value=change(scores[row].value))

    return forge


def dead_letter(change: Callable[[Sent], Sent]) -> Forge:
    """Change a dead letter."""

    def forge(topics: Topics, rng: random.Random) -> None:
        dead_letters = topics.dead_letters(rng.randrange(PARTITIONS))
        row = rng.randrange(len(dead_letters))
        dead_letters[row] = change(dead_letters[row])

    return forge


def header(name: str, value: bytes | None) -> Forge:
    return dead_letter(lambda sent: sent.with_header(ERRORS + name, value))


def one_bit_higher(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    score = decode_record("fraud_score", scores[row].value)["score"]
    scores[row] = edit_score(scores[row], score=math.nextafter(score, 2.0))


def leave_out(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    del scores[row]


def repeat(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    scores.insert(row + rng.randrange(1, 3), scores[row])


def reject_too(topics: Topics, rng: random.Random) -> None:
    """A dead letter for an input that has a score."""
    partition = rng.randrange(PARTITIONS)
    (sent,) = rejected(topics, partition, rng.choice(topics.scores(partition)), b"score")
    topics.dead_letters(partition).append(sent)


def rejected(topics: Topics, partition: int, score: Sent, stage: bytes) -> list[Sent]:
    """A dead letter for the input of a score."""
    offset = decode_record("fraud_score", score.value)["source"]["offset"]
    value = topics.given[partition][offset].value
    sent = replace(topics.dead_letters(partition)[0], key=score.key, value=value)
    sent = sent.with_header(ERRORS + "stage", stage)
    return [sent.with_header(ERRORS + "offset", str(offset).encode())]


def reject_instead(topics: Topics, rng: random.Random) -> None:
    """A dead letter in place of a score, which hides a transaction."""
    partition = rng.randrange(PARTITIONS)
    scores = topics.scores(partition)
    score = scores.pop(rng.randrange(len(scores)))
    stage = rng.choice([b"framing", b"decode", b"validate"])
    topics.dead_letters(partition)[:0] = rejected(topics, partition, score, stage)


def swap(topics: Topics, rng: random.Random) -> None:
    scores = topics.scores(rng.randrange(PARTITIONS))
    row = rng.randrange(len(scores) - 1)
    scores[row], scores[row + 1] = scores[row + 1], scores[row]


def move(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    others = topics.scores(0) if scores is topics.scores(1) else topics.scores(1)
    others.append(scores.pop(row))


def other_key(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    scores[row] = replace(scores[row], key=rng.choice([None, b"", b"x"]))


def exchange(topics: Topics, rng: random.Random) -> None:
    """Two scores with each other's content, as if rows of a batch were mixed up."""
    scores = topics.scores(rng.randrange(PARTITIONS))
    a, b = rng.sample(range(len(scores)), 2)
    places = [decode_record("fraud_score", scores[row].value)["source"] for row in (a, b)]
    keys = scores[a].key, scores[b].key
    first, second = scores[a], scores[b]
    scores[a] = replace(edit_score(second, source=places[0]), key=keys[0])
    scores[b] = replace(edit_score(first, source=places[1]), key=keys[1])


def score_instead(row: int) -> Forge:
    """A score in place of the dead letter of an input that nobody can score."""

    def forge(topics: Topics, rng: random.Random) -> None:
        partition = rng.randrange(PARTITIONS)
        sent = topics.dead_letters(partition).pop(row)
        offset = int(dict(sent.headers)[ERRORS + "offset"] or b"")
        source = {"topic": INPUT, "partition": partition, "offset": offset}
        scores = topics.scores(partition)
        scores.append(replace(edit_score(scores[0], source=source), key=sent.key))

    return forge


def wrong_header(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    scores[row] = scores[row].with_header("model-version", b"v4")


def redrive_twice(topics: Topics, rng: random.Random) -> None:
    held = topics.given[rng.randrange(PARTITIONS)]
    headers = tuple(
        (f"redrive.{name}", value)
        for name, value in (("topic", DLQ.encode()), ("partition", b"1"), ("offset", b"2"))
    )
    for offset in rng.sample(sorted(held), 2):
        held[offset] = replace(held[offset], headers=headers)


def before_its_input(topics: Topics, rng: random.Random) -> None:
    scores, row = some(topics, rng)
    scores[row] = replace(scores[row], time=NOW_MS - 60_000)


def of_no_version_in_the_store(topics: Topics, rng: random.Random) -> None:
    del rng
    topics.versions = ["v1", "v2"]


FORGERIES: dict[str, tuple[Fault, Forge]] = {
    "an outcome left out": (Fault.MISSING, leave_out),
    "a score twice": (Fault.DUPLICATE, repeat),
    "score and dead letter": (Fault.DUPLICATE, reject_too),
    "two scores swapped": (Fault.OUT_OF_ORDER, swap),
    "a score of a txn marker": (Fault.ORPHAN, placed(offset=3)),
    "a score of a negative offset": (Fault.ORPHAN, placed(offset=-1)),
    "a score of a negative partition": (Fault.ORPHAN, placed(partition=-1)),
    "a score of a later offset": (Fault.ORPHAN, placed(offset=2**40)),
    "a score of another topic": (Fault.ORPHAN, placed(topic=f"{INPUT}2")),
    "a score of an unknown partition": (Fault.ORPHAN, placed(partition=9)),
    "a score in another partition": (Fault.WRONG_PARTITION, move),
    "another key": (Fault.WRONG_KEY, other_key),
    "another transaction": (Fault.WRONG_TRANSACTION, scored({"transaction_id": 987})),
    "the smallest number as transaction": (
        Fault.WRONG_TRANSACTION, scored({"transaction_id": SMALLEST})),
    "the second smallest": (Fault.WRONG_TRANSACTION, scored({"transaction_id": SMALLEST + 1})),
    "another event time": (Fault.WRONG_TRANSACTION, scored({"event_time": 5})),
    "the smallest event time": (Fault.WRONG_TRANSACTION, scored({"event_time": SMALLEST + 1})),
    "rows of a batch mixed up": (Fault.WRONG_TRANSACTION, exchange),
    "a score above 1": (Fault.IMPLAUSIBLE, scored({"score": 1.5})),
    "a negative score": (Fault.IMPLAUSIBLE, scored({"score": -1e-9})),
    "a score that is not a number": (Fault.IMPLAUSIBLE, scored({"score": NAN})),
    "a decision that does not follow": (
        Fault.IMPLAUSIBLE, scored({"decision": "BLOCK", "is_flagged": True}, is_flagged=False)),
    "a flag that does not follow": (
        Fault.IMPLAUSIBLE, scored({"is_flagged": False}, is_flagged=True)),
    "a threshold that is not a number": (
        Fault.IMPLAUSIBLE, scored({"review_threshold": NAN}, is_flagged=False)),
    "an infinite threshold": (Fault.IMPLAUSIBLE, scored({"block_threshold": float("inf")})),
    "an absurd threshold": (
        Fault.IMPLAUSIBLE,
        scored({"review_threshold": 1e9, "block_threshold": 1e9}, is_flagged=False)),
    "a negative threshold": (
        Fault.IMPLAUSIBLE, scored({"review_threshold": -1.0}, is_flagged=True)),
    "review above block": (
        Fault.IMPLAUSIBLE,
        scored({"review_threshold": 1.0, "block_threshold": 0.99}, is_flagged=False)),
    "reasons for an approval": (
        Fault.IMPLAUSIBLE, scored({"reasons": [REASON]}, is_flagged=False)),
    "a context for an approval": (
        Fault.IMPLAUSIBLE, scored({"context": {"card1": 1.0}}, is_flagged=False)),
    "a sample that the hash does not choose": (Fault.IMPLAUSIBLE, scored(
        {"is_sampled": True, "context": {"card1": 1.0}}, is_flagged=False)),
    "a flagged sample": (Fault.IMPLAUSIBLE, scored({"is_sampled": True}, is_flagged=True)),
    "a truncated score": (Fault.UNREADABLE, bytes_of_a_score(lambda value: value[:-1])),
    "no value": (Fault.UNREADABLE, bytes_of_a_score(lambda _: None)),
    "a value that is no score": (Fault.UNREADABLE, bytes_of_a_score(lambda _: b"{}")),
    "another schema's fingerprint": (
        Fault.UNREADABLE, bytes_of_a_score(lambda value: value[:2] + b"x" * 8 + value[10:])),
    "a dead letter without a topic": (Fault.UNREADABLE, header("topic", None)),
    "a dead letter without an offset": (Fault.UNREADABLE, header("offset", None)),
    "an offset with an underscore": (Fault.UNREADABLE, header("offset", b"1_2")),
    "an offset in other digits": (Fault.UNREADABLE, header("offset", "٣".encode())),
    "an offset of a thousand digits": (Fault.UNREADABLE, header("offset", b"9" * 1000)),
    "a dead letter of another topic": (Fault.ORPHAN, header("topic", b"elsewhere")),
    "a dead letter of a txn marker": (Fault.ORPHAN, header("offset", b"3")),
    "a dead letter redriven twice": (Fault.REDRIVEN_TWICE, redrive_twice),
    "a byte after the end": (Fault.MALFORMED, bytes_of_a_score(lambda value: value + b"\x00")),
    "two scores in one value": (Fault.MALFORMED, bytes_of_a_score(lambda value: value * 2)),
    "version 0": (Fault.WRONG_VERSION, scored({"model_version": "v0"})),
    "no version": (Fault.WRONG_VERSION, scored({"model_version": ""})),
    "a version with a zero before it": (Fault.WRONG_VERSION, scored({"model_version": "v03"})),
    "a version that is a sentence": (Fault.WRONG_VERSION, scored({"model_version": "by hand"})),
    "a header with another version": (Fault.WRONG_VERSION, wrong_header),
    "no version of the store": (Fault.WRONG_VERSION, of_no_version_in_the_store),
    "other thresholds than the version's": (
        Fault.OTHER_THRESHOLDS,
        scored({"review_threshold": 1.0, "block_threshold": 1.0}, is_flagged=False)),
    "a score of garbage": (Fault.UNSCORABLE, score_instead(0)),
    "a score of a tombstone": (Fault.UNSCORABLE, score_instead(1)),
    "a score of an infinite amount": (Fault.UNSCORABLE, score_instead(2)),
    "a score of a truncated input": (Fault.UNSCORABLE, score_instead(3)),
    "a good input called undecodable": (Fault.WRONG_REJECTION, reject_instead),
    "a dead letter with another value": (
        Fault.WRONG_VALUE, dead_letter(lambda sent: replace(sent, value=b"{}"))),
    "a dead letter with an empty value": (
        Fault.WRONG_VALUE, dead_letter(lambda sent: replace(sent, value=b""))),
    "a dead letter cut to a longer value": (
        Fault.WRONG_VALUE,
        dead_letter(lambda sent: replace(sent, value=b"longer").with_header(
            "dlq.value.original.bytes", b"6"))),
    "no stage": (Fault.UNEXPLAINED, header("stage", None)),
    "an unknown stage": (Fault.UNEXPLAINED, header("stage", b"because")),
    "no reason": (Fault.UNEXPLAINED, header("exception.message", None)),
    "an empty reason": (Fault.UNEXPLAINED, header("exception.message", b" ")),
    "a score from before its input": (Fault.MISSING, before_its_input),
    "a score one bit higher": (Fault.NOT_REPRODUCED, one_bit_higher),
    "another reason": (Fault.NOT_REPRODUCED, scored({"reasons": [REASON]}, is_flagged=True)),
    "no reasons": (Fault.NOT_REPRODUCED, scored({"reasons": []}, is_flagged=True)),
    "a score of another version": (
        Fault.NOT_REPRODUCED, scored({"model_version": "v2", "score": 0.29, "decision": "APPROVE",
        "is_flagged": False, "reasons": [], "context": None}, is_flagged=True)),
}  # fmt: skip

WITHOUT_SAMPLE = {
    "a score of garbage",
    "a score of a tombstone",
    "a dead letter with another value",
    "a byte after the end",
    "no version",
    "no reason",
}
"""Some of those that are found though no input is in the sample."""


@pytest.mark.parametrize("stripe", [1, 5, 1000])
@pytest.mark.parametrize("sample", [0, 1, 3])
def test_what_a_pipeline_writes_is_clean(stripe: int, sample: int) -> None:
    topics = make_topics()
    topics.sample = topics.recompute = sample
    verdict = topics.judge(stripe)
    assert faults(verdict) == {}, verdict.offenders
    assert verdict.judged == verdict.inputs > 0
    if sample == 1:
        assert verdict.recomputed == verdict.scores


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("seed", range(3))
def test_forgery_is_found_and_named(forgery: str, seed: int) -> None:
    fault, forge = FORGERIES[forgery]
    rng = random.Random(seed)
    topics = make_topics()
    topics.recompute = 1 if fault is Fault.NOT_REPRODUCED else 0
    forge(topics, rng)
    verdict = topics.judge(stripe=rng.choice([8, 1000]))
    assert verdict.faults[fault] > 0, faults(verdict)
    assert any(offender.fault is fault for offender in verdict.offenders)


@pytest.mark.parametrize("forgery", sorted(WITHOUT_SAMPLE))
def test_forgery_is_found_without_a_sample(forgery: str) -> None:
    fault, forge = FORGERIES[forgery]
    topics = make_topics()
    topics.sample = 0
    if forgery == "a dead letter with another value":  # of the garbage, which always is decoded
        dead_letters = topics.dead_letters(0)
        dead_letters[0] = replace(dead_letters[0], value=b"other")
    else:
        forge(topics, random.Random(1))
    verdict = topics.judge()
    assert verdict.faults[fault] > 0, faults(verdict)


def test_every_fault_has_a_forgery() -> None:
    assert {fault for fault, _ in FORGERIES.values()} == set(Fault)


def test_number_of_more_than_64_bits_does_not_end_the_audit() -> None:
    topics = make_topics()
    scores = topics.scores(0)
    value = scores[0].value
    assert value is not None
    id_of = varint(decode_record("fraud_score", value)["transaction_id"])
    too_long = b"\xff" * 9 + b"\x7f"
    scores[0] = replace(scores[0], value=value[:10] + too_long + value[10 + len(id_of) :])
    assert faults(topics.judge())
