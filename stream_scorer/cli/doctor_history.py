"""The checks of ``doctor`` for a model that reads card history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from stream_scorer.cli.checks import Check, Level, guarded
from stream_scorer.cli.times import format_seconds
from stream_scorer.errors import StoreError
from stream_scorer.kafka.admin import describe_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.rights import topic_rights
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.process.history_topics import judge_history_topics, read_history_configs
from stream_scorer.settings import ScorerSettings
from stream_scorer.state.admin.status import PartitionStatus, read_status
from stream_scorer.state.eras import Eras, InputFacts, require_spec
from stream_scorer.state.input_log import using_input_log

_REQUEST_SECONDS: Final = 10.0
_OLD_SECONDS: Final = 1800.0
"""As the alert HistorySnapshotOld has it."""


def check_history(settings: ScorerSettings, bundle: Bundle) -> Iterator[Check]:
    """Check topics, rights and store, and the histories of the partitions."""
    store = open_history_store(settings)
    yield from guarded("history topics", lambda: check_history_topics(settings))
    yield from guarded("history rights", lambda: check_history_rights(settings))
    yield from guarded("history store", lambda: check_history_store(store))
    yield from guarded("card history", lambda: check_histories(settings, bundle, store))


def check_history_topics(settings: ScorerSettings) -> Iterator[Check]:
    """Check that the card histories that the model reads can be restored from the topics."""
    topics, name = (settings.input_topic, settings.dlq_topic), "history topics"
    found = judge_history_topics(*topics, read_history_configs(settings))
    for level, problems in ((Level.FAIL, found.faults), (Level.WARN, found.warnings)):
        for problem in problems:
            what, _, advice = problem.partition(": ")
            yield Check(name, level, what, advice)
    if not (found.faults or found.warnings):
        yield Check(name, Level.OK, f"{' and '.join(topics)} keep what histories are restored from")


def check_history_rights(settings: ScorerSettings) -> Iterator[Check]:
    """Check that dead letters can be read: a restore leaves out what was rejected."""
    topic = settings.dlq_topic
    if "READ" in topic_rights(open_admin(settings), topic):
        yield Check("history rights", Level.OK, f"this user is authorized to read {topic}")
    else:
        yield Check(
            "history rights",
            Level.FAIL,
            f"this user is not authorized to read {topic}, so no card history can be restored",
            f"grant this user READ on topic {topic}",
        )


def check_history_store(store: HistoryStore) -> Iterator[Check]:
    """Check that snapshots can be written and deleted; writes and deletes a small object."""
    try:
        ignored = store.find_ignored_condition()
    except StoreError as error:
        yield Check(
            "history store",
            Level.FAIL,
            f"snapshots cannot be written: {error}",
            "allow scorers to read, write, list and delete below history/",
        )
        return
    if ignored is not None:
        yield Check("history store", Level.FAIL, ignored, "use another object store")
    else:
        yield Check("history store", Level.OK, "snapshots can be written and deleted")


def check_histories(
    settings: ScorerSettings, bundle: Bundle, store: HistoryStore
) -> Iterator[Check]:
    """Check the era, and what is stored of each partition."""
    topic = settings.input_topic
    summary = describe_topics(open_admin(settings), [topic], _REQUEST_SECONDS)[topic]
    era = store.latest_era(require_spec(bundle).fingerprint)
    if era is None:
        yield Check(
            "card history",
            Level.WARN,
            f"none of version {bundle.version} has begun: the first scorer begins it, at the "
            "offsets of the group",
            f"to begin with a past: stream-scorer history build --seed {bundle.version}",
        )
        return
    facts = InputFacts(topic, summary.topic_id or "", summary.partitions)
    Eras(store, facts, era.max_keys).check(era)
    with using_input_log(settings) as log:
        partitions = list(read_status(store, era, log))
    yield judge_status(era, partitions, datetime.now(UTC))


def judge_status(era: Era, partitions: Sequence[PartitionStatus], now: datetime) -> Check:
    """Judge what is stored of the partitions. Pure."""
    debt = sum(status.debt or 0 for status in partitions)
    found = f"era {era.number}, {debt:,} inputs since the newest snapshots"
    ages = [status.age_seconds(now) for status in partitions if status.debt]
    oldest = max((age for age in ages if age is not None), default=0.0)
    missing = [str(s.partition) for s in partitions if s.debt and s.snapshot is None]
    advice = "find out why scorers write none: stream-scorer history status"
    if missing:
        what = f"{found}; none of partition {', '.join(missing)} is stored yet"
        return Check("card history", Level.WARN, what, advice)
    if oldest > _OLD_SECONDS:
        what = f"{found}, of which one is {format_seconds(oldest)} old"
        return Check("card history", Level.WARN, what, advice)
    return Check("card history", Level.OK, found)
