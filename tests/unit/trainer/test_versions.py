"""Promotion by hand: what the gate refused needs force and a reason, and both are recorded."""

from __future__ import annotations

import getpass
import json
import logging
import socket
from collections.abc import Mapping

import pytest

from stream_scorer.errors import UsageError
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.listing import list_versions
from stream_scorer.model.versions.promoting import (
    accept_version,
    previous_version,
    promote_version,
    roll_back,
)
from tests.support.factories import publish_only
from tests.support.stores import store_settings
from trainer.commands.flags.forcing import read_force, read_reason
from trainer.commands.parser import build_parser
from trainer.commands.summary import describe_versions
from trainer.fitting.plan import WrongUsageError
from trainer.publishing.operator import operator_name
from trainer.publishing.publish import load_champion, promote_candidate
from trainer.settings import TrainerSettings

Facts = Mapping[str, object]

PASSED = {"gate": {"passed": True, "refusals": []}}
REFUSED = {"gate": {"passed": False, "refusals": ["ROC AUC 0.5200 is below 0.6"]}}
SETTINGS = store_settings(model_store_uri="file:///nowhere")
ALICE = Override("alice@desk", "the labels of May are wrong")


def filled(*gates: Facts) -> MemoryStore:
    """A store with one published version for each gate; none is promoted."""
    store = MemoryStore()
    for facts in gates:
        publish_only(store, facts)
    return store


def served(*gates: Facts) -> MemoryStore:
    """A store whose versions were promoted one after the other, by force where needed."""
    store = filled(*gates)
    for version in store.versions():
        promote_version(store, SETTINGS, version, override=ALICE)
    return store


def pointer_of(store: MemoryStore) -> str:
    pointer = store.current()
    assert pointer is not None
    return pointer.version


def status_lines(store: MemoryStore) -> list[str]:
    return list(describe_versions(list_versions(store)))[1:]


def test_version_that_its_gate_refused_is_not_promoted_and_the_reasons_are_given() -> None:
    store = filled(REFUSED)
    with pytest.raises(UsageError, match=r"v1 was refused by its gate: ROC AUC 0\.5200 is below"):
        promote_version(store, SETTINGS, "v1")
    assert store.current() is None
    assert store.history() == []


@pytest.mark.parametrize("gate", [None, True, {}, {"passed": "yes"}, {"passed": None}])
def test_gate_that_does_not_say_passed_counts_as_a_refusal(gate: object) -> None:
    store = filled({"gate": gate})
    with pytest.raises(UsageError, match="no reason is recorded"):
        promote_version(store, SETTINGS, "v1")


def test_force_promotes_and_records_who_when_and_why() -> None:
    store = filled(REFUSED)
    promote_version(store, SETTINGS, "v1", override=ALICE)
    record = json.loads(read(store, "manifests/history/000001.json"))
    assert record.items() >= {"forced": True, "by": ALICE.by, "reason": ALICE.reason}.items()
    assert record["at"]
    line = status_lines(store)[0]
    assert f"promoted by force by alice@desk at {record['at']}: the labels of May" in line
    assert line.endswith("; refused by the gate")


def read(store: MemoryStore, key: str) -> bytes:
    found = store.objects.read(key, 10_000)
    assert found is not None
    return found.content


def test_force_that_was_not_needed_is_not_recorded() -> None:
    store = filled(PASSED)
    promote_version(store, SETTINGS, "v1", override=ALICE)
    assert store.history()[0].override is None
    assert "forced" not in json.loads(read(store, "manifests/history/000001.json"))
    assert status_lines(store)[0].endswith("  promoted")


def test_version_without_a_gate_is_promoted_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = filled({})
    with caplog.at_level(logging.WARNING):
        promote_version(store, SETTINGS, "v1")
    assert pointer_of(store) == "v1"
    assert "v1 has no gate in its metadata" in caplog.text


def test_forced_promotion_of_the_rejected_pointer_is_recorded_too() -> None:
    store = served(PASSED, PASSED)
    store.reject("v2", {"reason": "scores are inverted"})
    with pytest.raises(UsageError, match="v2 was rejected by a scorer"):
        promote_version(store, SETTINGS, "v2")
    promote_version(store, SETTINGS, "v2", override=ALICE)
    assert [(p.version, p.previous) for p in store.history()] == [
        ("v1", None), ("v2", "v1"), ("v2", "v2"),
    ]  # fmt: skip
    assert store.history()[-1].override == ALICE
    assert store.acceptances()["v2"]["reason"] == ALICE.reason
    assert previous_version(store)[1] == "v1"


def test_promotion_after_a_forced_one_shows_the_force_as_past() -> None:
    store = served(REFUSED, PASSED)
    first, second = status_lines(store)
    assert "was promoted by force by alice@desk" in first
    assert second.endswith("  promoted")


def test_texts_of_the_store_are_escaped_for_the_terminal() -> None:
    store = filled(REFUSED)
    override = Override("eve@\x1b[31mhost", "line\r\n\x1b]0;title\x07 \u202e")
    promote_version(store, SETTINGS, "v1", override=override)
    store.accept("v1", {"by": "eve\x1b[0m", "reason": "\x07", "at": "\n"})
    (line,) = status_lines(store)
    assert line.isprintable()
    assert r"eve@\x1b[31mhost" in line
    assert r"\u202e" in line


def test_rollback_passes_over_a_version_that_was_forced_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = served(PASSED, REFUSED, PASSED)
    with caplog.at_level(logging.WARNING):
        assert roll_back(store, SETTINGS) == ("v3", "v1")
    assert pointer_of(store) == "v1"
    assert "passed over v2: refused by the gate and promoted by force" in caplog.text


def test_rollback_by_force_goes_to_the_forced_version_and_is_recorded() -> None:
    store = served(PASSED, REFUSED, PASSED)
    bob = Override("bob@desk", "v2 served well")
    assert roll_back(store, SETTINGS, bob) == ("v3", "v2")
    last = store.history()[-1]
    assert (last.version, last.is_rollback, last.override) == ("v2", True, bob)


def test_rollback_with_only_a_forced_version_before_it_names_the_way_out() -> None:
    store = served(REFUSED, PASSED)
    with pytest.raises(UsageError, match=r"v1 was refused by the gate .* rollback --force"):
        roll_back(store, SETTINGS)
    assert pointer_of(store) == "v2"
    assert roll_back(store, SETTINGS, ALICE) == ("v2", "v1")


def test_champion_to_beat_is_the_one_that_scorers_fall_back_to() -> None:
    store = served(PASSED, REFUSED, PASSED)
    store.reject("v3", {"reason": "scores are inverted"})
    assert load_champion(store, SETTINGS).version == "v1"


@pytest.mark.parametrize(
    ("has_passed", "override", "is_promoted", "recorded"),
    [
        (True, None, True, None),
        (True, ALICE, True, None),
        (False, None, False, None),
        (False, ALICE, True, ALICE),
    ],
)
def test_candidate_is_promoted_if_it_passed_or_is_forced(
    has_passed: bool, override: Override | None, is_promoted: bool, recorded: Override | None
) -> None:
    store = filled(PASSED if has_passed else REFUSED)
    assert promote_candidate(store, "v1", has_passed, None, override) is is_promoted
    assert [p.override for p in store.history()] == ([recorded] if is_promoted else [])


def test_acceptance_by_hand_records_who_and_why() -> None:
    store = served(PASSED, PASSED)
    store.reject("v2", {"reason": "scores are inverted"})
    assert accept_version(store, "v2", ALICE)
    marker = json.loads(read(store, "manifests/accepted/v2.json"))
    assert (marker["by"], marker["reason"]) == (ALICE.by, ALICE.reason)
    assert marker["was_rejected"] == "scores are inverted"
    assert "promoted; accepted by alice@desk at " in status_lines(store)[1]


def trainer_settings(user: str | None = None) -> TrainerSettings:
    return TrainerSettings.model_construct(fraud_trainer_user=user)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["models", "promote", "v1", "--force"], "--force needs --reason TEXT"),
        (["models", "promote", "v1", "--force", "--reason", "  "], "--force needs --reason TEXT"),
        (["models", "rollback", "--force"], "--force needs --reason TEXT"),
        (["train", "--synthetic", "500", "--force"], "--force needs --reason TEXT"),
        (["models", "promote", "v1", "--reason", "x"], "--reason needs --force"),
        (["models", "promote", "v1", "--force", "--reason", "x" * 501], "has 501 characters"),
    ],
)
def test_force_and_reason_belong_together(argv: list[str], message: str) -> None:
    with pytest.raises(WrongUsageError, match=message):
        read_force(build_parser().parse_args(argv), trainer_settings())


def test_acceptance_needs_a_reason() -> None:
    arguments = build_parser().parse_args(["models", "accept", "v1"])
    with pytest.raises(WrongUsageError, match="models accept needs --reason TEXT"):
        read_reason(arguments, trainer_settings(), "models accept")


def test_operator_is_the_user_of_the_system_or_the_name_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = socket.gethostname()
    assert operator_name("alice") == f"alice@{host}"
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    assert operator_name(None) == f"bob@{host}"

    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", no_name)
    assert operator_name(None).startswith("uid-")
    arguments = build_parser().parse_args(["models", "rollback", "--force", "--reason", " why "])
    assert read_force(arguments, trainer_settings("carol")) == Override(f"carol@{host}", "why")


@pytest.mark.parametrize("odd", ["text", None, True, -1, 1e308, [1], {"a": 1}])
def test_list_leaves_out_figures_that_are_none(odd: object) -> None:
    measures = {"average_precision": odd, "top": {"0.02": {"recall": odd}}}
    store = filled(
        PASSED | {"training": {"rows": odd}, "metrics": {"test": measures}, "created_at": "today"},
        PASSED | {"training": {"rows": 1200}, "metrics": {"test": {"average_precision": 0.25}}},
    )
    odd_line, good_line = status_lines(store)
    assert odd_line.split() == ["v1", "today"]
    assert good_line.split() == ["v2", "1,200", "0.2500"]


def test_list_cuts_a_long_time() -> None:
    line = status_lines(filled(PASSED | {"created_at": "9" * 100_000}))[0]
    assert len(line) < 300


@pytest.mark.parametrize("odd", ["text", None, [1, 2], 3])
def test_show_prints_metadata_whose_sections_have_another_shape(
    odd: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(PASSED)
    monkeypatch.setattr("trainer.commands.models.open_store", lambda _: store)
    monkeypatch.setattr(
        "stream_scorer.model.versions.listing.fetch_metadata",
        lambda *_: {"features": odd, "thresholds": odd, "plots": [1]},
    )
    arguments = build_parser().parse_args(["models", "show", "v1"])
    assert arguments.run(arguments, TrainerSettings()) == 0
    assert json.loads(capsys.readouterr().out) == {"features": odd, "thresholds": odd}
