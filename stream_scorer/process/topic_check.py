"""Whether the topics a scorer works on are there and fit each other."""

from __future__ import annotations

import logging
from typing import Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import topic_config, topic_partitions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.rights import refused_topics
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES
from stream_scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

_ADMIN_SECONDS: Final = 5.0


def check_topics(settings: ScorerSettings) -> dict[str, int]:
    """That the three topics are there and fit each other; their ``max.message.bytes``.

    Raises:
        RetryableError: the broker or a topic is not there yet, or an outcome could not go to its
            input's partition number.
        FatalError: this user has no right on one of them.
    """
    admin = open_admin(settings)
    names = (settings.input_topic, settings.output_topic, settings.dlq_topic)
    found = topic_partitions(admin, names, _ADMIN_SECONDS)
    if missing := [name for name in names if name not in found]:
        if refused := refused_topics(admin, missing, _ADMIN_SECONDS):
            raise FatalError(
                f"no right on topic {', '.join(refused)}: grant this user READ on "
                f"{settings.input_topic}, WRITE on {settings.output_topic} and "
                f"{settings.dlq_topic}"
            )
        raise RetryableError(
            f"no topic {', '.join(missing)} (stream-scorer topics create makes them)"
        )
    wanted = found[settings.input_topic]
    for name in names[1:]:
        if found[name] < wanted:
            raise RetryableError(
                f"topic {name} has {found[name]} partitions, {settings.input_topic} {wanted}: "
                "an outcome goes to its input's partition number, so there must be as many "
                "(stream-scorer topics create extends it)"
            )
    limits = {}
    for name in names[1:]:
        try:
            limits[name] = int(topic_config(admin, name)["max.message.bytes"])
        except (RetryableError, FatalError, KeyError, ValueError) as error:
            # Describing a topic's configuration is a right a scorer need not have.
            log.info("cannot read the size limit of %s: %s", name, error)
    if limits.get(settings.dlq_topic, INPUT_MAX_BYTES) < INPUT_MAX_BYTES:
        log.warning(
            "topic %s takes %d bytes at most: longer dead letters will be cut",
            settings.dlq_topic,
            limits[settings.dlq_topic],
        )
    return limits
