"""What the dashboard reads of the input topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dashboard.feed.backlog import InputSource, KafkaInput
from dashboard.feed.records import KafkaRecords, RecordSource
from schemas.resolver import SchemaResolver
from stream_scorer.settings import GroupSettings


class Inputs(NamedTuple):
    """The input topic.

    Attributes:
        open_source: connects to measure the backlog of the scorers.
        records: reads single records.
        resolver: finds the schemas of records.
    """

    open_source: Callable[[], InputSource]
    records: RecordSource
    resolver: SchemaResolver


def kafka_inputs(settings: GroupSettings, resolver: SchemaResolver) -> Inputs:
    """The input topic on the cluster of the settings. It connects when it is used."""
    return Inputs(
        lambda: KafkaInput(settings, settings.input_topic, settings.kafka_group_id),
        KafkaRecords(settings),
        resolver,
    )
