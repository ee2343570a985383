"""What a redriven record says about its dead letter, and about copies that were accepted before."""

from __future__ import annotations

import pytest

from schemas.framing import Header
from schemas.rejections import Rejection, Stage
from stream_scorer.dead_letters.dead_letter import DeadLetter
from stream_scorer.dead_letters.headers import dead_letter_headers, error_headers
from stream_scorer.dead_letters.redrive_headers import redriven_headers
from stream_scorer.dead_letters.repeats import find_first_copies

INPUT, DLQ = "transactions", "transactions-dlq"


def make_dead_letter(
    stage: str, *headers: tuple[str, bytes | None], topic: str = INPUT
) -> DeadLetter:
    errors = {"topic": topic, "partition": "3", "offset": "41", "stage": stage}
    return DeadLetter(3, 7, 1, errors, headers, b"k", b"v", is_cut=False)


def origin(*stage: Header) -> list[Header]:
    return [
        ("redrive.topic", DLQ.encode()), ("redrive.partition", b"3"), ("redrive.offset", b"7"),
        *stage,
    ]  # fmt: skip


def test_redriven_record_has_its_own_headers_and_those_of_this_dead_letter_alone() -> None:
    dead_letter = make_dead_letter(
        "decode", ("x", b"1"), ("redrive.topic", b"old"), ("redrive.offset", b"5"),
        ("redrive.stage", b"schema"), ("x", None),
    )  # fmt: skip
    assert redriven_headers(dead_letter, DLQ, INPUT) == [
        ("x", b"1"), ("x", None), *origin(("redrive.stage", b"decode")),
    ]  # fmt: skip


@pytest.mark.parametrize("stage", list(Stage))
def test_copy_of_a_record_that_failed_after_validation_is_known_to_be_a_repeat(
    stage: Stage,
) -> None:
    headers = redriven_headers(make_dead_letter(stage), DLQ, INPUT)
    is_first = stage not in (Stage.SCORE, Stage.PUBLISH)
    assert find_first_copies([headers, None]).tolist() == [is_first, True]


@pytest.mark.parametrize("accepted", ["score", "publish"])
@pytest.mark.parametrize("stage", list(Stage))
def test_record_accepted_once_stays_a_repeat_whatever_its_copies_fail_at(
    accepted: str, stage: Stage
) -> None:
    """For example because the registry has forgotten the writer's schema in the meantime."""
    again = make_dead_letter(stage, ("redrive.stage", accepted.encode()))
    headers = redriven_headers(again, DLQ, INPUT)
    assert headers == origin(("redrive.stage", accepted.encode()))
    third = make_dead_letter(Stage.DECODE, *[(n, v) for n, v in headers if isinstance(v, bytes)])
    assert not find_first_copies([redriven_headers(third, DLQ, INPUT)])[0]


def test_record_that_fails_at_scoring_after_its_redrive_becomes_a_repeat() -> None:
    again = make_dead_letter("score", ("redrive.stage", b"decode"))
    assert redriven_headers(again, DLQ, INPUT) == origin(("redrive.stage", b"score"))


def test_dead_letter_of_another_topic_says_nothing_about_this_one() -> None:
    """It may have been accepted there, but it is not in the histories of this topic."""
    other = make_dead_letter("score", ("redrive.stage", b"score"), topic="elsewhere")
    assert redriven_headers(other, DLQ, INPUT) == origin()


@pytest.mark.parametrize("stage", ["", "\udc80\n", "Score", "x" * 1_000_000])
def test_stage_that_no_scorer_wrote_is_left_out(stage: str) -> None:
    assert redriven_headers(make_dead_letter(stage), DLQ, INPUT) == origin()


def test_stage_is_that_of_the_scorers_own_headers() -> None:
    headers = dead_letter_headers(INPUT, 3, 41, Rejection(0, Stage.PUBLISH, "too large"))
    dead_letter = DeadLetter(3, 7, 1, error_headers(headers), (), b"k", b"v", is_cut=False)
    assert redriven_headers(dead_letter, DLQ, INPUT) == origin(("redrive.stage", b"publish"))
