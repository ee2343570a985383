"""What the commands of card history work on: the bundle, the store, the era and the input topic."""

from __future__ import annotations

from typing import Final

from stream_scorer.cli.history.settings import HistoryCommandSettings
from stream_scorer.errors import UsageError
from stream_scorer.kafka.admin import describe_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.topics import require_topics
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.opening import open_store
from stream_scorer.settings import GroupSettings
from stream_scorer.state.admin.bundles import find_history_bundle
from stream_scorer.state.eras import InputFacts, require_spec

_REQUEST_SECONDS: Final = 10.0


def open_bundle(settings: HistoryCommandSettings, version: str | None) -> Bundle:
    """The version that ``--model`` names, or the promoted one; it reads card history.

    Raises:
        UsageError, StoreError, ArtifactCorrupt, ArtifactIncompatible: there is no such version.
    """
    keys = parse_trusted_keys(settings.model_trusted_keys)
    return find_history_bundle(open_store(settings), version, keys)


def require_era(store: HistoryStore, bundle: Bundle) -> Era:
    """The era that counts for a bundle's history.

    Raises:
        UsageError: there is none.
        StoreError, ArtifactCorrupt: it cannot be read.
    """
    spec = require_spec(bundle)
    era = store.latest_era(spec.fingerprint)
    if era is None:
        raise UsageError(
            f"{store.where} has no card history for version {bundle.version} (spec "
            f"{spec.fingerprint[:16]}): scorers begin one when the version is promoted, or run "
            f"`stream-scorer history build --seed {bundle.version}` before"
        )
    return era


def read_input_facts(settings: GroupSettings) -> InputFacts:
    """The input topic as it is now.

    Raises:
        UsageError: no broker answers, or there is no such topic.
        RetryableError, FatalError: the request failed.
    """
    topic = settings.input_topic
    require_topics(settings, [topic])
    found = describe_topics(open_admin(settings), [topic], _REQUEST_SECONDS)[topic]
    return InputFacts(topic, found.topic_id or "", found.partitions)
