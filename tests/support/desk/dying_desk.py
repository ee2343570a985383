"""A desk that decides about ``0-3`` and is killed right after the broker has confirmed it.

Arguments: the state folder, the broker, and the names of the labels and audit topics.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboard.cases.case import Decision, Who
from dashboard.cases.kafka_log import KafkaLog
from dashboard.cases.log import Channel, NewRecord, Place
from stream_scorer.settings import GroupSettings
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until


class DyingLog(KafkaLog):
    """Dies once a label is on its topic."""

    def append(self, records: Sequence[NewRecord], seconds: float) -> list[Place | None]:
        places = super().append(records, seconds)
        if any(record.channel is Channel.LABELS for record in records):
            assert None not in places
            os.kill(os.getpid(), signal.SIGKILL)
        return places


if __name__ == "__main__":
    folder, servers, labels, audit = sys.argv[1:]
    settings = GroupSettings(
        kafka_bootstrap_servers=servers, labels_topic=labels, audit_topic=audit
    )
    with running_desk(Path(folder), DyingLog(settings)) as desk:
        wait_until(lambda: desk.status().state == "live", what="the desk")
        desk.decide(Decision("0-3", "FRAUD"), Who("ana"), "the-key")
