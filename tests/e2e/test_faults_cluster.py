"""Faults of broker and topics, and members that join and leave, under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import Fault, FreezeBroker, KillBroker, Scale
from tests.chaos.offset_faults import AddPartition, How, WrongOffsets
from tests.chaos.short import assert_nothing_is_lost_or_repeated, run_campaign
from tests.chaos.topic_faults import FAILED, Missing, ReadOnly, SmallMessages
from tests.chaos.world import Setup
from tests.conftest import StartBroker

pytestmark = pytest.mark.timeout(900)  # usually a minute; each step has its own deadline


def test_broker_outages_and_rebalances_lose_and_duplicate_nothing(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    faults: list[Fault] = [Scale(4, usual=1, hold_seconds=4.0), KillBroker(), FreezeBroker()]
    setup = Setup(6_000, 600)
    result = run_campaign(own_broker, tmp_path, setup, faults, members=1)
    assert_nothing_is_lost_or_repeated(result, 6_000)


def test_wrong_offsets_are_refused_and_an_added_partition_is_scored(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    faults: list[Fault] = [*(WrongOffsets(how, 2) for how in How), AddPartition(hold_seconds=2.0)]
    setup = Setup(6_000, 500, "consumer")
    result = run_campaign(own_broker, tmp_path, setup, faults)
    assert_nothing_is_lost_or_repeated(result, 6_000)
    logs = "\n".join(log.read_text() for log in tmp_path.glob("scorer-*.log"))
    for refused in ("but its log ends at", "was deleted and recreated", "no committed offset for"):
        assert refused in logs
    assert "has 7 partitions now (6 before)" in logs


def test_no_record_is_lost_when_topics_are_missing_read_only_or_limited(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    faults: list[Fault] = [
        SmallMessages("dlq", 20_000, 3.0), ReadOnly("output", 2.0), ReadOnly("dlq", 2.0),
    ]  # fmt: skip
    setup = Setup(10_000, 700)
    result = run_campaign(own_broker, tmp_path, setup, faults, before=Missing())
    assert_nothing_is_lost_or_repeated(result, 10_000)
    assert FAILED in result.exits
    logs = "\n".join(log.read_text() for log in tmp_path.glob("scorer-*.log"))
    assert "now accepts only smaller records than when this process started" in logs
