"""The challenger is loaded like any version, and a bad one costs nothing but itself."""

from __future__ import annotations

import logging

import pytest

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import ArtifactError
from stream_scorer.model.bundle import Bundle, build_files, load_bundle
from stream_scorer.model.signing import generate_key_pair, parse_trusted_keys
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.shadow import follower as follower_module
from stream_scorer.shadow.apart import ChallengerRefused
from stream_scorer.shadow.follower import ChallengerFollower
from stream_scorer.shadow.models import BundleModel
from stream_scorer.shadow.worker import ShadowWorker
from tests.support.factories import make_bundle, make_draft
from tests.support.shadow.kit import Events, make_shadowed


class Followed:
    """A store with three versions, of which the first is promoted, and what follows it."""

    def __init__(self, keys: str | None = None) -> None:
        self.store = MemoryStore()
        for seed in (1, 2, 3):
            self.store.publish(*build_files(make_draft(seed)))
        shadowed = make_shadowed(None, values=[])
        self.worker: ShadowWorker = shadowed.worker
        self.events: Events = shadowed.events
        self.serving: Bundle | None = make_bundle("v1")
        self.trusted = parse_trusted_keys(keys)
        self.sink = shadowed.sink
        self.problem: str | None = None
        self.follower = ChallengerFollower(
            self.store, self.worker, self._start, 1.0, lambda: self.serving,
            self.events, lambda: self.problem,
        )  # fmt: skip

    def _start(self, version: str) -> BundleModel:
        """Load it as its process does."""
        try:
            bundle = load_bundle(self.store.fetch(version), version, self.trusted)
        except ArtifactError as error:
            raise ChallengerRefused(str(error)) from error
        return BundleModel(bundle, 1.0, TransactionDecoder(LocalSchemas()), self.sink)

    def challenge(self, version: str | None) -> str | None:
        """Move the pointer, and look."""
        self.store.challenge(version, self.store.challenger())
        return self.look()

    def look(self) -> str | None:
        self.follower.tick()
        found = self.worker.challenger
        return None if found is None else found.version


def test_challenger_is_followed_and_ended() -> None:
    one = Followed()
    assert one.look() is None
    assert one.challenge("v2") == "v2"
    bundle = one.worker.challenger
    assert one.look() == "v2"
    assert one.worker.challenger is bundle  # loaded once
    assert one.challenge("v3") == "v3"
    assert one.challenge(None) is None
    assert one.events.versions == ["v2", "v3", None]
    one.worker.stop()


def test_promoted_or_rejected_challenger_ends() -> None:
    one = Followed()
    assert one.challenge("v2") == "v2"
    one.serving = make_bundle("v2")
    assert one.look() is None
    one.serving = make_bundle("v1")
    assert one.look() == "v2"
    one.store.reject("v2", {"reason": "inverted"})
    assert one.look() is None
    one.worker.stop()


def test_store_that_does_not_answer_changes_nothing_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Followed()
    assert one.challenge("v2") == "v2"
    one.store.script(StoreFault("unavailable", "read manifests/challenger.txt", times=3))
    assert [one.look() for _ in range(3)] == ["v2"] * 3
    assert caplog.text.count("cannot look for a challenger") == 1
    assert one.look() == "v2"
    one.worker.stop()


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl", "metadata.json"])
def test_damaged_version_is_put_aside_counted_and_logged_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = Followed()
    content = one.store.fetch("v2")[name]
    one.store.objects.overwrite(f"models/v2/{name}", content[:-9] + b"x" * 9)
    with caplog.at_level(logging.ERROR):
        assert one.challenge("v2") is None
        assert one.look() is None
    assert one.events.refusals == 1
    assert caplog.text.count("the challenger is refused: ") == 1


def test_unsigned_version_is_refused_where_keys_are_trusted() -> None:
    one = Followed(generate_key_pair().public_base64)
    assert one.challenge("v2") is None
    assert one.events.refusals == 1


def test_large_version_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follower_module, "BUNDLE_MAX_BYTES", 1000)
    one = Followed()
    one.store.script(StoreFault("unavailable", "read models/v2/*.pkl", times=9))
    assert one.challenge("v2") is None
    assert one.look() is None
    assert one.events.refusals == 1
    assert caplog.text.count("the limit for a challenger is 1000") == 1
    assert "unavailable" not in caplog.text


def test_challenger_ends_when_the_scorer_needs_its_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Followed()
    assert one.challenge("v2") == "v2"
    one.problem = "1,000 of the 1,024 MiB of this container are used"
    assert one.look() is None
    one.problem = None
    assert one.look() is None  # it is not tried again
    assert one.events.refusals == 1
    assert "the challenger is put aside: 1,000 of the 1,024 MiB" in caplog.text
    assert one.challenge("v3") == "v3"
    one.worker.stop()


def test_version_that_failed_here_is_not_loaded_again() -> None:
    one = Followed()
    one.worker.put_aside = frozenset({"v2"})
    assert one.challenge("v2") is None
    one.worker.is_disabled = True
    assert one.challenge("v3") is None
