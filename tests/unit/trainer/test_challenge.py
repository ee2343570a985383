"""The challenger: which versions may score in shadow, and how the commands show it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from stream_scorer.errors import UsageError
from stream_scorer.model.bundle import build_files
from stream_scorer.model.signing import generate_key_pair
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.versions.challenging import Challenged, challenge_version, end_challenge
from stream_scorer.model.versions.listing import list_versions
from tests.support.factories import make_draft
from tests.support.stores import store_settings
from tests.support.training.history_kit import make_history_draft
from trainer.commands.parser import build_parser
from trainer.settings import TrainerSettings

SETTINGS = store_settings(model_store_uri="file:///nowhere")


def served(store: ArtifactStore, versions: int = 2) -> None:
    """Publish versions without a gate; the first is promoted."""
    for _ in range(versions):
        store.publish(*build_files(make_draft()))
    store.promote("v1", None)


def test_version_beside_the_champion_challenges_and_the_end_is_recorded_too() -> None:
    store = MemoryStore()
    served(store)
    assert challenge_version(store, SETTINGS, "v2") == Challenged("v1", "v2", None)
    assert challenge_version(store, SETTINGS, "v2") == Challenged("v1", "v2", "v2")
    assert [line.status for line in list_versions(store)] == ["promoted", "challenger"]
    assert end_challenge(store) == Challenged("v1", None, "v2")
    assert end_challenge(store) == Challenged("v1", None, None)
    assert [line.status for line in list_versions(store)] == ["promoted", ""]
    assert [record.version for record in store.challenges()] == ["v2", None]


def test_champion_unknown_and_rejected_versions_are_refused_with_the_way_out() -> None:
    store = MemoryStore()
    with pytest.raises(UsageError, match="nothing to challenge: run fraud-trainer models promote"):
        challenge_version(store, SETTINGS, "v2")
    served(store)
    with pytest.raises(UsageError, match="v1 is the promoted version"):
        challenge_version(store, SETTINGS, "v1")
    with pytest.raises(UsageError, match=r"no version v9 .* \(existing versions: v1, v2\)"):
        challenge_version(store, SETTINGS, "v9")
    store.reject("v2", {"reason": "scores are inverted"})
    with pytest.raises(UsageError, match=r"rejected by a scorer: scores are inverted.*accept v2"):
        challenge_version(store, SETTINGS, "v2")
    assert store.challenger().version is None


def test_unsigned_version_is_refused_where_keys_are_trusted() -> None:
    store = MemoryStore()
    served(store)
    key = generate_key_pair().public_base64
    settings = store_settings(model_store_uri="file:///nowhere", model_trusted_keys=key)
    with pytest.raises(UsageError, match=r"cannot score with v2: .*sign"):
        challenge_version(store, settings, "v2")
    assert store.challenger().version is None


def test_version_with_another_card_history_is_compared_by_a_replay_only() -> None:
    store = MemoryStore()
    served(store, versions=1)
    store.publish(*build_files(make_history_draft()))
    with pytest.raises(UsageError, match="stream-scorer replay --model v2 --against v1"):
        challenge_version(store, SETTINGS, "v2")
    store.promote("v2", store.current())  # the reverse: what reads no history needs none
    assert challenge_version(store, SETTINGS, "v1").champion == "v2"


def test_race_for_the_pointer_has_one_winner_and_a_clear_message() -> None:
    store = MemoryStore()
    served(store, versions=3)
    other = MemoryStore(store.objects)
    store.script(
        StoreFault(
            "slow",
            "create manifests/challenges/*",
            wait=lambda: other.challenge("v3", other.challenger()),
        )
    )
    with pytest.raises(UsageError, match="another command changed the challenger"):
        challenge_version(store, SETTINGS, "v2")
    assert store.challenger().version == "v3"


def test_pointer_that_names_nothing_does_not_hide_the_versions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    served(store)
    store.objects.overwrite("manifests/challenger.txt", b"the new one")
    assert [line.status for line in list_versions(store)] == ["promoted", ""]
    assert "contains 'the new one' instead of a version" in caplog.text


def run(folder: Path, *words: str) -> int:
    arguments: argparse.Namespace = build_parser().parse_args(["models", *words])
    code: int = arguments.run(arguments, TrainerSettings(model_store_uri=folder.as_uri()))
    return code


def test_commands_challenge_show_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served(FileStore(tmp_path))
    assert run(tmp_path, "challenge", "v2") == 0
    assert "v2 scores in shadow beside v1" in capsys.readouterr().out
    assert run(tmp_path, "list") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("challenger")
    assert run(tmp_path, "show", "v2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["challenger"] is True
    assert run(tmp_path, "challenge", "--none", "--json") == 0
    ended = {"champion": "v1", "challenger": None, "previous": "v2"}
    assert json.loads(capsys.readouterr().out) == ended
    with pytest.raises(UsageError, match="either a version such as v8, or --none"):
        run(tmp_path, "challenge")
