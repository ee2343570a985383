"""Scorers that disagree are noticed, and a promotion is no disagreement."""

from __future__ import annotations

from dashboard.feed.board import Board, FeedState, Progress
from dashboard.feed.mixture import SEEN_MS, Mixture, Scoring
from dashboard.live.notices import describe_mixed, describe_notices, describe_progress

V7, V8 = Scoring("v7", 0.4, 0.8), Scoring("v8", 0.4, 0.8)
OTHER = Scoring("v7", 0.5, 0.8)
SECOND = 1000
GOOD = {"rejected": None, "override": None}


def played(*spans: tuple[Scoring, int, int]) -> tuple[Mixture, int]:
    """What was seen each second of some spans, and the time after the last of them."""
    mixture, end = Mixture(), max(last for _, _, last in spans)
    for second in range(end + 1):
        mixture.note([one for one, a, b in spans if a <= second <= b], second * SECOND)
    return mixture, end * SECOND


def test_one_model_with_one_set_of_thresholds_is_no_mixture() -> None:
    mixture, now = played((V7, 0, 60))
    assert mixture.find(now) is None


def test_rolling_update_is_a_mixture_since_the_second_version_began() -> None:
    mixture, now = played((V7, 0, 60), (V8, 20, 60))
    mixed = mixture.find(now)
    assert mixed is not None
    assert (mixed.since, mixed.versions) == (20 * SECOND, ["v7", "v8"])
    text = describe_mixed(mixed)
    assert text.title == "Scorers use different models"
    assert text.text.startswith("since 1970-01-01 00:00:20 UTC: v7 and v8.")


def test_promotion_is_no_mixture_at_any_moment() -> None:
    mixture = Mixture()
    for second in range(120):
        # Scorers look for a new version at different times, some seconds apart.
        found = [V7] if second < 30 else [V7, V8] if second < 36 else [V8]
        mixture.note(found, second * SECOND)
        assert mixture.find(second * SECOND) is None


def test_mixture_ends_when_one_of_them_is_not_seen_any_more() -> None:
    mixture, now = played((V7, 0, 60), (V8, 20, 70))
    assert mixture.find(now) is not None
    for second in range(71, 71 + SEEN_MS // SECOND):
        mixture.note([V8], second * SECOND)
    assert mixture.find(second * SECOND) is None


def test_different_thresholds_of_one_version_are_named() -> None:
    mixture, now = played((V7, 0, 60), (OTHER, 5, 60))
    mixed = mixture.find(now)
    assert mixed is not None
    found = describe_mixed(mixed)
    assert found.title == "Scorers use different thresholds"
    assert (
        "v7 scores with review 0.4 and block 0.8, and with review 0.5 and block 0.8" in found.text
    )


def test_single_scores_with_invented_models_raise_no_banner_and_take_no_memory() -> None:
    mixture = Mixture()
    for second in range(600):
        made_up = [Scoring(f"x{second}-{i}", 0.1, 0.2) for i in range(50)]
        mixture.note([*made_up, V7], second * SECOND)
        assert mixture.find(second * SECOND) is None
    assert len(mixture._seen) <= 20
    assert V7 in mixture._seen


def test_backlog_of_two_versions_is_no_mixture() -> None:
    now = 0.0
    board = Board(lambda: now)
    board.enter(FeedState.REBUILDING)
    for second in range(60):
        now = float(second)
        board.note_scorings([V7, V8])
    assert describe_notices(board, GOOD) == []
    board.enter(FeedState.LIVE)
    for second in range(60, 120):
        now = float(second)
        board.note_scorings([V7, V8])
    assert [one["kind"] for one in describe_notices(board, GOOD)] == ["amber"]


def test_rejected_and_forced_models_have_a_banner_each() -> None:
    rejected = {"rejected": "v8", "serving": None, "reason": "inverted"}
    override = {"version": "v7", "refusals": ["worse", "slow"], "by": None, "reason": "", "at": ""}
    found = describe_notices(Board(), {"rejected": rejected, "override": override})
    assert [one["kind"] for one in found] == ["red", "amber"]
    assert found[0]["text"] == ": inverted. No model is serving."
    assert found[1]["title"] == "Model v7 refused by its gate"
    assert found[1]["text"] == ": worse; slow."
    forced = override | {"by": "alice", "at": "2026-11-29", "reason": "May"}
    (only,) = describe_notices(Board(), {"rejected": None, "override": forced})
    assert only["title"] == "Model v7 promoted by force"
    assert only["text"] == "by alice at 2026-11-29: May. Its gate refused it: worse; slow."


def test_progress_is_said_in_records_and_time() -> None:
    assert describe_progress(Progress(412_000, 1_083_000, 125.0)) == (
        "38 % \u2013 412,000 of 1,083,000, about 2 minutes"
    )
    assert describe_progress(Progress(5, 10, 12.2)).endswith("5 of 10, about 12 s")
    assert describe_progress(Progress(5, 10, 9000.0)).endswith("about 2.5 hours")
    assert describe_progress(Progress(0, 10, None)) == "0 % \u2013 0 of 10"
    assert describe_progress(Progress(0, 0, None)).startswith("100 %")
