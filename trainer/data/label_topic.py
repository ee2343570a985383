"""Labels from the labels topic, as far as it was written when the run started."""

from __future__ import annotations

from stream_scorer.errors import UsageError
from stream_scorer.labels.labels import Labels
from stream_scorer.labels.topic import PREFIX, read_labels
from stream_scorer.runtime.names import check_topic
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings


def is_topic(source: str) -> bool:
    """Whether a source of labels is a topic and not a file; ``./topic`` is a file."""
    return source == "topic" or source.startswith(PREFIX)


def read_label_topic(source: str) -> Labels:
    """All labels of a topic up to its end as of now, committed ones alone.

    ``topic`` and ``kafka://`` mean ``LABELS_TOPIC``, ``kafka://name`` another topic.

    Raises:
        SettingsError: a Kafka setting is invalid.
        UsageError: no broker answers, or there is no such topic.
        RetryableError: the topic could not be read to its end, or the Schema Registry fails.
        FatalError: login failed, or this user is not authorized.
    """
    settings = load_settings(GroupSettings)
    topic = source.removeprefix(PREFIX) if source.startswith(PREFIX) else ""
    try:
        topic = check_topic(topic) if topic else settings.labels_topic
    except ValueError as error:
        raise UsageError(
            f"--labels {source}: {error}; the brokers come from KAFKA_BOOTSTRAP_SERVERS"
        ) from None
    return read_labels(settings, topic)
