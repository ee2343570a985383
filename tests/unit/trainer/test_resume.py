"""A run that was interrupted between its publication and its promotion."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.port import ArtifactStore, Pointer
from tests.support.factories import make_draft
from tests.support.factories import publish as publish_and_promote
from tests.support.stores import publish_half, store_settings
from trainer.__main__ import main
from trainer.publishing.publish import Champion, intention, load_champion, promote, publish
from trainer.publishing.resume import resume

SETTINGS = store_settings(model_store_uri="file:///nowhere")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def interrupted(
    store: ArtifactStore,
    champion: Champion | None = None,
    *,
    wanted: bool = True,
    has_passed: bool = True,
) -> str:
    """Publish as a run does that is killed before it promotes; returns the version."""
    champion = champion or load_champion(store, SETTINGS)
    draft = make_draft()
    facts = {**draft.facts, "gate": {"passed": has_passed}}
    promotion = intention(champion, wanted=wanted)
    return publish(store, replace(draft, facts=facts), SETTINGS, promotion)


def promoted(store: MemoryStore) -> str | None:
    pointer = store.current()
    return None if pointer is None else pointer.version


def test_first_version_of_a_store_is_promoted(store: MemoryStore) -> None:
    version = interrupted(store)
    assert resume(store, SETTINGS).promoted == version == promoted(store)


def test_promotion_is_completed_once(store: MemoryStore) -> None:
    publish_and_promote(store)
    version = interrupted(store)
    assert resume(store, SETTINGS).promoted == version == promoted(store)
    again = resume(store, SETTINGS)
    assert (again.promoted, again.not_promoted) == (None, {})
    assert [record.version for record in store.history()] == ["v1", "v2"]


def test_promotion_that_was_recorded_and_not_made_is_completed(store: MemoryStore) -> None:
    publish_and_promote(store)
    champion = load_champion(store, SETTINGS)
    version = interrupted(store)
    store.script(StoreFault("unavailable", "replace manifests/latest.txt"))
    with pytest.raises(StoreError):
        promote(store, version, champion.pointer)
    assert [record.version for record in store.history()][-1] == version
    assert promoted(store) == "v1"
    assert resume(store, SETTINGS).promoted == version == promoted(store)


def test_newest_of_two_interrupted_runs_is_promoted(store: MemoryStore) -> None:
    publish_and_promote(store)
    interrupted(store)
    newest = interrupted(store)
    assert resume(store, SETTINGS).promoted == newest == promoted(store)
    assert resume(store, SETTINGS).not_promoted == {}


def test_version_that_was_not_to_be_promoted_stays_unpromoted(store: MemoryStore) -> None:
    publish_and_promote(store)
    interrupted(store, wanted=False)
    store.publish(b"m", lambda _: {"metadata.json": b"{}", "preprocessor.pkl": b"p"})
    assert resume(store, SETTINGS).promoted is None
    assert promoted(store) == "v1"


def test_version_that_was_rolled_back_is_not_promoted_again(store: MemoryStore) -> None:
    publish_and_promote(store)
    champion = load_champion(store, SETTINGS)
    version = interrupted(store)
    pointer = store.promote(version, champion.pointer)
    store.promote("v1", pointer, is_rollback=True)
    resumed = resume(store, SETTINGS)
    assert (resumed.promoted, resumed.not_promoted) == (None, {})
    assert promoted(store) == "v1"


def test_pointer_that_was_moved_since_stops_the_promotion(store: MemoryStore) -> None:
    publish_and_promote(store)
    publish_and_promote(store, seed=2)
    champion = load_champion(store, SETTINGS)
    version = interrupted(store, champion)
    store.promote("v1", store.current(), is_rollback=True)
    why = resume(store, SETTINGS).not_promoted[version]
    assert "another promotion happened since its run started" in why
    assert "was at v2 and is at v1" in why
    assert promoted(store) == "v1"


def test_pointer_that_was_moved_and_moved_back_stops_the_promotion(store: MemoryStore) -> None:
    publish_and_promote(store)
    publish_and_promote(store, seed=2)
    champion = load_champion(store, SETTINGS)
    version = interrupted(store, champion)
    store.promote("v1", store.current(), is_rollback=True)
    store.promote("v2", store.current())
    resumed = resume(store, SETTINGS)
    assert resumed.promoted is None
    assert "since its run started" in resumed.not_promoted[version]
    assert promoted(store) == "v2"


def test_pointer_that_was_written_by_hand_stops_the_promotion(store: MemoryStore) -> None:
    publish_and_promote(store)
    version = interrupted(store)
    store.objects.overwrite("manifests/latest.txt", b"v1\n")
    why = resume(store, SETTINGS).not_promoted[version]
    assert why == "the pointer was written since its run started; it is at v1 again"


def test_history_that_is_too_short_stops_the_promotion(store: MemoryStore) -> None:
    publish_and_promote(store)
    version = interrupted(store)
    for key in store.objects.keys("manifests/history/"):
        store.objects.remove(key)
    why = resume(store, SETTINGS).not_promoted[version]
    assert "no longer reaches back" in why


def test_gate_is_not_overruled(store: MemoryStore) -> None:
    version = interrupted(store, has_passed=False)
    why = resume(store, SETTINGS).not_promoted[version]
    assert "the gate refused it" in why
    assert promoted(store) is None


def test_rejected_version_is_not_promoted(store: MemoryStore) -> None:
    version = interrupted(store)
    store.reject(version, {"reason": "too many flagged"})
    assert resume(store, SETTINGS).not_promoted == {
        version: "a scorer rejected it; a promotion needs --force --reason TEXT"
    }


def test_damaged_version_is_not_promoted(store: MemoryStore) -> None:
    version = interrupted(store)
    store.objects.overwrite(f"models/{version}/model.pkl", b"other")
    assert "sha256" in resume(store, SETTINGS).not_promoted[version]
    assert promoted(store) is None


def test_lost_race_is_reported(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    version = interrupted(store)

    def lose(*_: Any) -> Pointer:
        raise StoreConflict("moved")

    monkeypatch.setattr(store, "promote", lose)
    resumed = resume(store, SETTINGS)
    assert resumed.promoted is None
    assert "at the same time" in resumed.not_promoted[version]


def test_incomplete_version_is_named_and_left_alone(store: MemoryStore) -> None:
    publish_and_promote(store)
    publish_half(store)
    before = sorted(store.objects.keys(""))
    resumed = resume(store, SETTINGS)
    assert (resumed.incomplete, resumed.promoted) == (["v2"], None)
    assert sorted(store.objects.keys("")) == before
    assert interrupted(store) == "v3"


def test_command_says_why_it_promoted_nothing_and_how_a_person_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", tmp_path.as_uri())
    folder = FileStore(tmp_path)
    publish_and_promote(folder)
    champion = load_champion(folder, SETTINGS)
    version = interrupted(folder, champion)
    folder.promote("v1", champion.pointer)  # writes the pointer, as a promotion of v1 would
    assert main(["resume"]) == 1
    printed = capsys.readouterr().out
    assert (
        "v2 was published to be promoted, and is not promoted: the pointer was written" in printed
    )
    assert f"fraud-trainer models promote {version}" in printed
    assert main(["resume", "--json"]) == 1
    assert list(json.loads(capsys.readouterr().out)["not_promoted"]) == ["v2"]
