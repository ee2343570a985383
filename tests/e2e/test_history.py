"""Card history on real Kafka with real processes: every score is that of one pass over the inputs.

The pass is computed here, from the topics. Whatever happens to scorers, broker and snapshots, each
restored history is also compared with the mark of the scores before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.campaign import Campaign, Result
from tests.chaos.faults import Fault, FreezeScorer, KillBroker, KillScorer, Scale
from tests.chaos.history.faults import FreezeInRestore, KillInRestore, Promote, Redrive
from tests.chaos.history.proof import HistoryProof, prove
from tests.chaos.history.stream import HistoryStream, make_stream
from tests.chaos.short import EXPECTED_ENDS
from tests.chaos.world import Setup, broker_properties, make_world
from tests.conftest import StartBroker
from tests.support.history.models import load_history_program

pytestmark = pytest.mark.timeout(900)  # usually under a minute; each step has its own deadline

PARTITIONS: Final = 4
ROWS: Final = 6_000
RATE: Final = 200.0
SESSION_SECONDS: Final = 3.0
_FROZEN: Final = SESSION_SECONDS + 1.5


def run(
    own_broker: StartBroker, folder: Path, setup: Setup, faults: list[Fault], members: int
) -> tuple[Result, HistoryProof]:
    """Run a campaign on its own broker, and compare its scores with one pass."""
    broker = own_broker(folder / "kafka", properties=broker_properties(SESSION_SECONDS))
    with make_world(setup, folder, broker) as world:
        result = Campaign(world, faults, members).run()
        # Cards have no histories before a stateless model is replaced, but the trainer has.
        return result, prove(world, result, with_trainer=not setup.starts_stateless)


def with_history(stream: HistoryStream, protocol: str, *, starts_stateless: bool) -> Setup:
    return Setup(
        ROWS, RATE, protocol, partitions=PARTITIONS, session_seconds=SESSION_SECONDS,
        history=stream, starts_stateless=starts_stateless,
    )  # fmt: skip


def assert_every_score_is_that_of_one_pass(
    result: Result, proof: HistoryProof, stream: HistoryStream
) -> None:
    assert proof.faults == {}
    assert result.verified, (result.report["faults"], result.report["offenders"][:5])
    assert proof.one_pass.inputs == stream.total + proof.one_pass.redriven
    assert proof.one_pass.inputs == result.report["inputs"]
    assert len(proof.one_pass.sums) == PARTITIONS
    assert proof.one_pass.dead_letters["framing"] > 0  # the refused ones never advanced
    assert proof.one_pass.dead_letters["publish"] > 0  # and these did
    assert set(result.leavers) == {0}
    crashes = [f"exit {code}:\n{log}" for code, log in result.ends if code not in EXPECTED_ENDS]
    assert not crashes, "\n".join(crashes)
    assert result.tracebacks == []


def test_scores_are_those_of_one_pass_through_kills_zombies_promotions_and_a_broker_restart(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    stream = make_stream(ROWS, PARTITIONS, load_history_program())
    faults: list[Fault] = [
        Promote(),  # the first version with history
        Scale(3, 3, hold_seconds=0.0),
        KillScorer(),
        Promote(),  # another version of the same history
        FreezeScorer(hold_seconds=_FROZEN),
        KillInRestore(),
        Redrive(),
        KillBroker(),
        Scale(3, 3, hold_seconds=0.0),
        Scale(1, 1, hold_seconds=0.0),
    ]
    setup = with_history(stream, "classic", starts_stateless=True)
    result, proof = run(own_broker, tmp_path, setup, faults, members=1)
    assert_every_score_is_that_of_one_pass(result, proof, stream)
    assert set(proof.one_pass.scores) == {"v1", "v2", "v3"}
    assert proof.one_pass.redriven > 0
    assert proof.restores.checks["checked"] >= 2 * PARTITIONS
    assert proof.restores.replayed > 0
    assert proof.restores.snapshots["created"] > 0


def test_stream_begins_with_the_trainers_histories_although_both_have_the_same_rows(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    """Rows that are in the seed do not count twice; all later ones have the trainer's features."""
    overlap = 500
    stream = make_stream(ROWS, PARTITIONS, load_history_program(), has_seed=True, overlap=overlap)
    faults: list[Fault] = [KillScorer(), FreezeInRestore(hold_seconds=_FROZEN), KillScorer()]
    setup = with_history(stream, "consumer", starts_stateless=False)
    result, proof = run(own_broker, tmp_path, setup, faults, members=2)
    assert_every_score_is_that_of_one_pass(result, proof, stream)
    assert proof.trainer_rows == ROWS - overlap
    assert proof.restores.checks["checked"] >= PARTITIONS
