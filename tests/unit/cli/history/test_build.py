"""``history build``: its flags, its plan, what it reports, and how long it follows."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from stream_scorer.__main__ import main
from stream_scorer.cli.history.build import build_json, build_lines, check_past
from stream_scorer.cli.history.follow import follow
from stream_scorer.cli.parsing.history_parser import history_start
from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.kafka.spans import Span
from stream_scorer.model.store.history_era import Era, EraSeed
from stream_scorer.runtime.settings import HistorySettings
from stream_scorer.state.admin.build import BuiltPartition
from tests.support.state.history_kit import DAY, make_card_rows, make_history_bundle
from tests.support.state.operator_kit import OperatorBed

SETTINGS = HistorySettings(history_snapshot_seconds=60)


def test_start_is_a_word_or_a_time() -> None:
    assert history_start("earliest") == "earliest"
    assert history_start("snapshots") == "snapshots"
    assert history_start("2026-01-31") == 1_769_817_600_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "snapshots", "--seed", "v1"], "--from snapshots goes on with a past"),
        (["--from", "snapshots", "--cold"], "--from snapshots goes on with a past"),
        (["--before", "2h"], "--before needs --from snapshots"),
        (["--from", "3d", "--before", "2h"], "--before needs --from snapshots"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "build", *arguments]) == 1
    assert message in capsys.readouterr().err


def bed_of(days: list[float]) -> tuple[OperatorBed, dict[int, Span]]:
    rows = [row for row in make_card_rows(4 * len(days), cards=9) if "card1" in row][: len(days)]
    for row, day in zip(rows, days, strict=True):
        row["TransactionDT"] = round(day * DAY)
    bed = OperatorBed(rows=rows)
    return bed, {p: Span(0, len(own)) for p, own in enumerate(bed.inputs)}


def test_history_does_not_begin_without_a_past_by_mistake(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bed, spans = bed_of([40, 42, 43, 46.9])
    with pytest.raises(UsageError, match=r"cover 6\.9 days, .* --seed VN .* --cold"):
        check_past(bed.log, spans, None, is_cold=False)
    check_past(bed.log, spans, None, is_cold=True)
    check_past(bed.log, spans, EraSeed("a" * 64, 40 * DAY), is_cold=False)
    bed, spans = bed_of([40, 42, 43, 47])
    check_past(bed.log, spans, None, is_cold=False)
    assert capsys.readouterr().err == ""


def test_no_inputs_are_no_past() -> None:
    bed, spans = bed_of([])
    with pytest.raises(UsageError, match=r"cover 0\.0 days"):
        check_past(bed.log, spans, None, is_cold=False)
    check_past(bed.log, spans, EraSeed("a" * 64, 40 * DAY), is_cold=False)


def test_time_between_seed_and_inputs_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    bed, spans = bed_of([40, 42])
    check_past(bed.log, spans, EraSeed("a" * 64, 30 * DAY), is_cold=False)
    assert "the seed ends 10.0 days before the first input" in capsys.readouterr().err


def built(partition: int, **more: int) -> BuiltPartition:
    given = {"begin": 5, "offset": 105, "rows": 90, "missing": 0, "check_sum": 0xAB, **more}
    return BuiltPartition(partition, **given, keys={"client": 30, "card": 12})


def test_result_names_era_inputs_rate_and_keys() -> None:
    bed = OperatorBed()
    done = [built(0), built(1, rows=1910)]
    lines = build_lines(make_history_bundle("v7"), bed.draft(), done, 2.0)
    assert lines[0] == "era 1 of the card history of version v7 has begun"
    assert lines[1] == "2 partitions, 2,000 inputs replayed in 2 s, 1,000/s"
    assert lines[2] == "keys: 60 client, 24 card"


def test_result_without_inputs_has_no_rate() -> None:
    done = [built(0, rows=0)]
    lines = build_lines(make_history_bundle("v7"), OperatorBed().draft(), done, 0.0)
    assert lines[1] == "1 partition, 0 inputs replayed in 0 s"


def test_json_has_each_partition() -> None:
    era = OperatorBed().draft(seed=EraSeed("a" * 64, 5), is_cold=False)
    plain = build_json(make_history_bundle("v7"), era, [built(0), built(1, missing=3)], 2.0)
    assert (plain["era"], plain["seed"], plain["is_cold"]) == (1, "a" * 64, False)
    assert plain["partitions"][1] == {
        "partition": 1,
        "begin_offset": 5,
        "next_offset": 105,
        "inputs": 90,
        "missing_offsets": 3,
        "keys": {"client": 30, "card": 12},
        "check_sum": "00000000000000ab",
    }


@dataclass
class Clock:
    """Time that passes only while somebody waits; ``after`` runs at given seconds."""

    now: float = 0.0
    after: dict[float, object] = field(default_factory=dict)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self.after if at <= self.now]:
            step = self.after.pop(at)
            assert callable(step)
            step()


def begun() -> tuple[OperatorBed, Era]:
    bed = OperatorBed()
    return bed, bed.begin_era()


def newest(bed: OperatorBed, era: Era) -> list[int]:
    return [bed.store.snapshots(era, p)[0].next_offset for p in range(bed.count)]


def test_snapshots_stay_fresh_until_scorers_use_the_era(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bed, era = begun()

    def grow() -> None:
        bed.add(make_card_rows(40, seed=2, cards=9))
        bed.commit_all()

    def serve() -> None:
        assert newest(bed, era) == [len(rows) for rows in bed.inputs]
        bed.mark(era, 0)

    clock = Clock(after={30.0: grow, 95.0: serve})
    follow(bed.builder(), bed.store, era, SETTINGS, lambda: False, clock.pause, lambda: clock.now)
    assert 95 <= clock.now < 110
    error = capsys.readouterr().err
    assert "3 snapshots written" in error
    assert error.rstrip().endswith("scorers use the new era, and store snapshots themselves: done")


def test_following_outlives_an_outage(capsys: pytest.CaptureFixture[str]) -> None:
    bed, era = begun()
    bed.log.faults = [RetryableError("no broker answers")] * 3
    clock = Clock(after={200.0: lambda: bed.mark(era, 1)})
    follow(bed.builder(), bed.store, era, SETTINGS, lambda: False, clock.pause, lambda: clock.now)
    assert bed.log.faults == []
    assert capsys.readouterr().err.count("no broker answers") == 1


def test_following_ends_when_the_process_is_stopped() -> None:
    bed, era = begun()
    clock = Clock()
    follow(
        bed.builder(), bed.store, era, SETTINGS, lambda: clock.now > 33, clock.pause,
        lambda: clock.now,
    )  # fmt: skip
    assert 33 < clock.now < 34


def test_following_ends_with_the_era() -> None:
    bed, era = begun()
    clock = Clock(after={15.0: bed.begin_era})
    with pytest.raises(UsageError, match="era 2 has begun"):
        follow(
            bed.builder(), bed.store, era, SETTINGS, lambda: False, clock.pause, lambda: clock.now
        )
