"""Imports: what is written of a file, by what the topic says already."""

from __future__ import annotations

from typing import Any

from stream_scorer.labels.history import MOST_SHOWN, History
from stream_scorer.labels.importing import Known, digest
from stream_scorer.labels.label_lines import LabelLine
from stream_scorer.labels.standing import StandingTable

NOW = 1_790_000_000_000


def known(*written: LabelLine, analyst: LabelLine | None = None) -> Known:
    """A topic with chargebacks and perhaps a decision of an analyst after them."""
    table = StandingTable()
    for offset, line in enumerate(written):
        table.add(1, offset, fields(line, "CHARGEBACK"))
    if analyst:
        table.add(1, len(written), fields(analyst, "ANALYST"))
    return Known("CHARGEBACK", table.build(), [digest(*line) for line in written])


def fields(line: LabelLine, origin: str) -> dict[str, Any]:
    return {**line._asdict(), "origin": origin}


def test_what_was_written_is_not_written_again() -> None:
    lines = [LabelLine(1, "FRAUD", 5, None), LabelLine(2, "FRAUD", 5, "a"), *[
        LabelLine(3, "FRAUD", 5, None)]]  # fmt: skip
    chosen = known(*lines[:2]).choose(lines, NOW)
    assert (list(chosen.lines), chosen.already, chosen.older) == (lines[2:], 2, 0)


def test_each_field_makes_another_label() -> None:
    first = LabelLine(1, "FRAUD", 5, None)
    others = [first._replace(label="UNSURE"), first._replace(decided_at=6), first._replace(note="")]
    chosen = known(first).choose(others, NOW)
    assert list(chosen.lines) == others[:2]  # an empty note is none
    assert chosen.already == 1


def test_label_older_than_the_one_that_stands_of_its_origin_is_not_written() -> None:
    """It would stand otherwise: the last record does. So an old file may be imported again."""
    state = known(LabelLine(1, "FRAUD", 5, None), LabelLine(1, "LEGITIMATE", 9, None))
    old = [LabelLine(1, "FRAUD", 5, None), LabelLine(1, "FRAUD", 8, None)]
    chosen = state.choose([old[0]], NOW)
    assert (list(chosen.lines), chosen.already) == ([], 1)
    chosen = state.choose([old[1]], NOW)
    assert (list(chosen.lines), chosen.older) == ([], 1)


def test_label_from_the_future_keeps_no_other_one_out() -> None:
    line = LabelLine(1, "LEGITIMATE", NOW - 5, None)
    for at, expected in ((NOW, []), (NOW + 300_001, [line]), (2**62, [line])):
        assert list(known(LabelLine(1, "FRAUD", at, None)).choose([line], NOW).lines) == expected


def test_chargeback_is_written_beside_a_decision_of_an_analyst_and_replaces_its_own_kind() -> None:
    line = LabelLine(1, "FRAUD", 5, None)
    state = known(analyst=LabelLine(1, "LEGITIMATE", 9, None))
    assert list(state.choose([line], NOW).lines) == [line]
    assert state.replaced_by(line) is None
    assert known(line._replace(decided_at=4)).replaced_by(line) == "1:0"
    assert state.replaced_by(line._replace(transaction_id=2)) is None


def test_digest_is_the_same_in_every_process() -> None:
    assert digest(1, "FRAUD", 5, None) == 15992188101186920915


def test_history_keeps_the_last_labels_of_one_transaction_and_counts_all() -> None:
    history, table = History(7), StandingTable()
    for offset in range(MOST_SHOWN + 5):
        label = fields(LabelLine(7, "FRAUD", 5, None), "CHARGEBACK")
        for one in (label, label | {"transaction_id": 8}):
            history.observe(0, offset, one)
        table.add(0, offset, label)
    history.settle(table.build())
    found = history.as_json()
    assert (found["total"], len(found["labels"])) == (MOST_SHOWN + 5, MOST_SHOWN)
    assert [entry["stands"] for entry in found["labels"]].count(True) == 1
    assert found["labels"][-1]["stands"]


def test_fields_of_any_type_are_shown_as_none() -> None:
    history = History(7)
    wrong = {"note": [1], "score": "x", "decided_by": 5, "source": {"topic": 1}, "supersedes": {}}
    history.observe(0, 0, fields(LabelLine(7, "FRAUD", 5, None), "ANALYST") | wrong)
    (found,) = history.as_json()["labels"]
    assert {found[name] for name in wrong} == {None}
    assert (found["label"], found["origin"], found["decided_at"]) == ("FRAUD", "ANALYST", 5)
