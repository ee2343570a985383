"""``history status`` as text and as JSON."""

from __future__ import annotations

from datetime import timedelta

from stream_scorer.cli.history.status import status_json, status_lines
from stream_scorer.state.admin.status import read_status
from tests.support.state.history_kit import NOW, make_card_rows, make_history_bundle
from tests.support.state.operator_kit import OperatorBed


def test_lines_have_one_row_a_partition_and_what_is_wrong() -> None:
    bed = OperatorBed()
    era = bed.begin_era(why="try \x1b[31mred", is_cold=True)
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    bed.mark(era, 1)
    found = list(read_status(bed.store, era, bed.log))
    bundle = make_history_bundle("v7")
    now = NOW + timedelta(hours=2, minutes=5)
    lines = status_lines(bundle, era, "scorers", found, "the topic has 4 partitions", now)
    text = "\n".join(lines)
    assert lines[0] == f"version v7, history features {era.spec[:16]}"
    assert "\x1b" not in text
    assert "begun without a past" in lines[1]
    assert "PROBLEM: the topic has 4 partitions" in lines
    head = next(n for n, line in enumerate(lines) if line.startswith("partition"))
    rows = lines[head + 1 : head + 4]
    debts = [one.debt for one in found]
    for partition, line in enumerate(rows):
        cells = line.split()
        assert cells[0] == str(partition)
        assert "2 h 5 min" in line
        assert str(debts[partition]) in cells
    assert "era 1" in rows[1]
    assert f"{sum(d or 0 for d in debts):,} offsets of group scorers are not in" in text


def test_json_has_the_same() -> None:
    bed = OperatorBed()
    era = bed.begin_era()
    bed.mark(era, 1)
    found = list(read_status(bed.store, era, bed.log))
    plain = status_json(make_history_bundle("v7"), era, "scorers", found, None, NOW)
    assert (plain["model_version"], plain["era"]["number"], plain["problem"]) == ("v7", 1, None)
    assert plain["replay_debt"] == 0
    first, second, _ = plain["partitions"]
    assert first["mark"] is None
    assert second["mark"]["is_same_history"]
    assert second["mark"]["check_sum"] == second["snapshot"]["check_sum"]
    assert first["snapshot"]["next_offset"] == first["committed_offset"] == len(bed.inputs[0])
    assert set(first["snapshot"]["keys"]) == {"client", "card"}
