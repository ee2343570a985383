"""What card histories need of the topics: inputs and dead letters are kept, and as long.

A history is restored from the inputs since its last snapshot, without those that a dead letter of a
stage before scoring belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import topic_config
from stream_scorer.kafka.clients import open_admin
from stream_scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

_POLICY: Final = "cleanup.policy"
_MS: Final = "retention.ms"
_BYTES: Final = "retention.bytes"
_NO_LIMIT: Final = -1
_WAY_OUT: Final = "or promote a model without history"


@dataclass(frozen=True, slots=True)
class HistoryTopics:
    """What is wrong with the topics of a model with history, for their operator.

    Attributes:
        faults: with these, histories would be wrong.
        warnings: with these, a restore may become impossible.
    """

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge_history_topics(
    input_topic: str, dlq_topic: str, configs: Mapping[str, Mapping[str, str]]
) -> HistoryTopics:
    """Judge the configuration of input and dead letter topic. Pure.

    Args:
        input_topic: the name of the input topic.
        dlq_topic: the name of the dead letter topic.
        configs: configuration by topic; without those that this user may not read.
    """
    uses = {
        input_topic: "records that card histories are computed from",
        dlq_topic: "dead letters that say which records are in no card history",
    }
    faults = tuple(
        f"topic {name} is compacted ({_POLICY}={configs[name][_POLICY]}), so Kafka removes {use}: "
        f"set {_POLICY}=delete on it, {_WAY_OUT}"
        for name, use in uses.items()
        if "compact" in configs.get(name, {}).get(_POLICY, "")
    )
    warnings = tuple(
        f"not authorized to read the configuration of topic {name} (DESCRIBE_CONFIGS), so it is "
        "not checked that card histories can be restored from it"
        for name in uses
        if name not in configs
    )
    if not warnings:
        warnings = _shorter_kept(input_topic, dlq_topic, configs[input_topic], configs[dlq_topic])
    return HistoryTopics(faults, warnings)


def check_history_topics(settings: ScorerSettings) -> None:
    """Check the topics before a model with history scores.

    Raises:
        FatalError: histories would be wrong; the message says what to do.
        RetryableError: no broker answers.
    """
    found = judge_history_topics(
        settings.input_topic, settings.dlq_topic, read_history_configs(settings)
    )
    for warning in found.warnings:
        log.warning("%s", warning)
    if found.faults:
        raise FatalError("; ".join(found.faults))


def read_history_configs(settings: ScorerSettings) -> dict[str, dict[str, str]]:
    """The configuration of input and dead letter topic, where this user may read it.

    Raises:
        RetryableError: no broker answers.
    """
    admin = open_admin(settings)
    configs = {}
    for name in (settings.input_topic, settings.dlq_topic):
        try:
            configs[name] = topic_config(admin, name)
        except FatalError as error:
            # A scorer does not need the permission to describe a topic's configuration.
            log.info("cannot read the configuration of %s: %s", name, error)
    return configs


def _shorter_kept(
    input_topic: str, dlq_topic: str, inputs: Mapping[str, str], dead_letters: Mapping[str, str]
) -> tuple[str, ...]:
    """Limits of the dead letter topic that are tighter than the input's."""
    return tuple(
        f"topic {dlq_topic} may remove dead letters earlier than {input_topic} removes their "
        f"inputs ({name}={dead_letters[name]}, the input's is {inputs[name]}), and card histories "
        f"are restored from both: set {name}={inputs[name]} on {dlq_topic}"
        for name in (_MS, _BYTES)
        if _is_tighter(dead_letters.get(name), inputs.get(name))
    )


def _is_tighter(limit: str | None, other: str | None) -> bool:
    try:
        ours, theirs = int(limit or ""), int(other or "")
    except ValueError:
        return False  # not known
    return ours > _NO_LIMIT and (theirs <= _NO_LIMIT or ours < theirs)
