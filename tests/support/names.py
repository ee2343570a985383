"""Unique names for topics on a shared broker."""

from __future__ import annotations

import uuid

from stream_scorer.runtime.settings import TopicSettings


def random_topics() -> TopicSettings:
    """Input, output, dead letter, labels, audit and shadow topic; they are not created."""
    run = uuid.uuid4().hex[:8]
    return TopicSettings(
        input_topic=f"transactions-{run}",
        output_topic=f"fraud-scores-{run}",
        dlq_topic=f"transactions-dlq-{run}",
        labels_topic=f"fraud-labels-{run}",
        audit_topic=f"fraud-audit-{run}",
        shadow_topic=f"fraud-scores-shadow-{run}",
    )
