"""The state file of an audit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.records.columns import OutcomeKind
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.state_file import AuditIdentity, dump_state, load_state, save_state
from stream_scorer.audit.verdict import Fault
from stream_scorer.errors import UsageError
from stream_scorer.kafka.spans import Span
from tests.support.audit.audit_kit import HERE, MemoryTopics, Row, faults, judge, new_auditor


def audited() -> tuple[Auditor, MemoryTopics]:
    topics = MemoryTopics().with_inputs(range(8)).write([(0, i) for i in range(7)] + [(1, 3)])
    topics.write([(0, 1), (0, 99)], OutcomeKind.DEAD_LETTER).write([(0, 7)], partition=1)
    auditor = new_auditor(has_next_run=True)
    judge(topics, auditor=auditor, edges={0: 5, 1: 2})
    return auditor, topics


def test_loaded_state_continues_as_the_state_in_memory_does(tmp_path: Path) -> None:
    auditor, topics = audited()
    topics.write([Row((0, 7), version="v2")])
    save_state(tmp_path / "state", HERE, auditor.state)
    loaded = load_state(tmp_path / "state", HERE, 20)
    assert loaded is not None
    continued = Auditor(loaded, has_next_run=True)
    assert judge(topics, auditor=continued) == judge(topics, auditor=auditor)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_there_is_no_state_without_a_file(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state", HERE, 20) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(HERE, cluster="cluster-2"), "belongs to cluster cluster-1, but"),
        (replace(HERE, topics={**HERE.topics, "input": ("else", "id-1")}), "not to else"),
        (replace(HERE, topics={**HERE.topics, "scores": ("out", "id-9")}), "out was recreated"),
        (replace(HERE, group="others"), "belongs to group scorers, not to others"),
    ],
)
def test_state_of_other_topics_or_of_another_group_is_refused(
    tmp_path: Path, other: AuditIdentity, message: str
) -> None:
    save_state(tmp_path / "state", HERE, audited()[0].state)
    with pytest.raises(UsageError, match=message):
        load_state(tmp_path / "state", other, 20)


def changed(raw: bytes) -> bytes:
    outer = orjson.loads(raw)
    outer["audit"]["ledgers"]["0"]["head"] += 1
    return orjson.dumps(outer)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (changed, "checksum"),
        (lambda raw: raw[:-10], "is not an audit state file"),
        (lambda _: b"", "is not an audit state file"),
        (lambda _: b"[]", "is not an audit state file"),
        (lambda raw: raw.replace(b'"format":3', b'"format":1'), "has format 1"),
    ],
)
def test_damaged_state_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "state"
    save_state(path, HERE, audited()[0].state)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=message):
        load_state(path, HERE, 20)


def test_unwritable_or_unreadable_state_file_is_a_clear_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write the state file"):
        save_state(tmp_path / "nowhere" / "state", HERE, AuditState())
    with pytest.raises(UsageError, match="cannot read the state file"):
        load_state(tmp_path, HERE, 20)


# --- a file of release 0.1.0, saved at the fifth checkpoint of a run over `golden_topics`

GOLDEN = Path(__file__).parents[2] / "golden" / "audit_state_2.json"
GOLDEN_NOW = GOLDEN.with_name("audit_state_3.json")
"""The same run, saved in the present format."""
GOLDEN_DIGEST = "331b0ceda8920551b9562c9b8886478050e24ec61311a4642443e393aa869924"
"""The digest that release 0.1.0 computed at the end of that run."""


def golden_topics() -> MemoryTopics:
    topics = MemoryTopics({0: Span(0, 20), 1: Span(0, 10)}, batch=2)
    topics.with_inputs([0, 1, 2, 3, 4, 5, 6, 7, 9, 12]).with_inputs(range(6), 1)
    topics.inputs_at[0] |= {1: (1, 7), 6: (1, 7)}
    order = (0, 0, 1, 9, 2, 3, 12, 4, 5, 6, 7)
    topics.write([Row((0, i), version="v2" if i > 4 else "v1") for i in order] + [(1, 5)])
    topics.write([(1, i) for i in (0, 1, 2, 4)] + [(0, 8), (0, 77)], partition=1)
    return topics.write([(0, 99)], OutcomeKind.DEAD_LETTER)


def test_state_file_of_the_first_release_is_loaded_and_continued() -> None:
    state = load_state(GOLDEN, HERE, 20)
    assert state is not None
    assert state.is_open
    lengths = [sum(map(len, rows)) for rows in (state.held, state.strays, state.early)]
    assert lengths == [2, 1, 1]
    topics = golden_topics()
    auditor = Auditor(state, has_next_run=True)
    verdict = judge(topics, auditor=auditor, edges={0: 10, 1: 10}, stripe=3)
    assert faults(verdict) == {
        Fault.MISSING: 1,
        Fault.DUPLICATE: 1,
        Fault.OUT_OF_ORDER: 6,
        Fault.ORPHAN: 3,
        Fault.WRONG_PARTITION: 2,
        Fault.REDRIVEN_TWICE: 1,
    }
    assert (verdict.inputs, verdict.scores, verdict.dead_letters) == (15, 18, 1)
    assert (verdict.counts["waiting"], verdict.counts["keys_not_compared"]) == (1, 6)
    assert verdict.versions == {"v1": 12, "v2": 4}
    assert verdict.times == (1000, 1009)
    assert verdict.digest == GOLDEN_DIGEST


def test_state_of_the_first_release_is_written_in_the_present_format(tmp_path: Path) -> None:
    state = load_state(GOLDEN, HERE, 20)
    assert state is not None
    save_state(tmp_path / "state", HERE, state)
    again = load_state(tmp_path / "state", HERE, 20)
    assert again is not None
    assert dump_state(again) == dump_state(state)


def test_state_file_is_written_as_before(tmp_path: Path) -> None:
    state = load_state(GOLDEN_NOW, HERE, 20)
    assert state is not None
    save_state(tmp_path / "state", HERE, state)
    assert (tmp_path / "state").read_bytes() == GOLDEN_NOW.read_bytes()
