"""Short campaigns for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.chaos.campaign import Campaign, Result
from tests.chaos.faults import Fault
from tests.chaos.topic_faults import FAILED
from tests.chaos.world import BROKER, Setup, make_world
from tests.conftest import StartBroker

KILLED, HUNG = -9, 70
EXPECTED_ENDS: Final = {KILLED, FAILED, HUNG}  # killed by us, by a fatal error, by the watchdog


def run_campaign(
    own_broker: StartBroker,
    folder: Path,
    setup: Setup,
    faults: Sequence[Fault],
    members: int = 2,
    before: Fault | None = None,
) -> Result:
    """Run a campaign on its own broker."""
    broker = own_broker(folder / "kafka", properties=BROKER)
    with make_world(setup, folder, broker) as world:
        return Campaign(world, faults, members, before).run()


def assert_nothing_is_lost_or_repeated(result: Result, transactions: int) -> None:
    """The audit passed, and the scorers ended with expected exit codes and no traceback."""
    report = result.report
    assert result.verified, (report["faults"], report["offenders"][:5])
    assert report["inputs"] == transactions
    assert report["scores"] + report["dead_letters"] == transactions
    assert report["dead_letters"] > 0
    assert set(result.leavers) == {0}
    crashes = [f"exit {code}:\n{log}" for code, log in result.ends if code not in EXPECTED_ENDS]
    assert not crashes, "\n".join(crashes)
    assert result.tracebacks == []
