"""Records with values at the limits of their types, which any producer may write."""

from __future__ import annotations

from pathlib import Path

import orjson

from dashboard.cases.case import Who
from dashboard.cases.desk_table import DeskWriter
from dashboard.cases.events import CLAIM, make_event, read_event
from dashboard.cases.labels import read_label
from dashboard.cases.log import Channel, LogRecord, Place
from tests.support.desk.desk_kit import local_resolvers


def test_time_of_the_latest_kind_fits_into_the_cache(tmp_path: Path) -> None:
    claim = make_event(CLAIM, Who("ana"), 1, flag_id="0-1")
    event = read_event(claim.as_record(), 2**63 - 1)
    writer = DeskWriter(tmp_path / "desk.sqlite3")
    changed, _ = writer.save([], [(event, Place(0, 0))], {(Channel.AUDIT, 0): 1})
    writer.close()
    assert changed == {"0-1"}


def test_longest_key_and_topic_name_are_read_back_whole() -> None:
    source = {"topic": "t" * 249, "partition": 999_999_999, "offset": 10**18 - 1}
    flag_id = f"{source['topic']}:{source['partition']}-{source['offset']}"
    decision_id = f"{'k' * 128}:{flag_id}"
    value = orjson.dumps(
        {"transaction_id": 1, "decided_at": 1, "label": "FRAUD", "origin": "ANALYST",
         "source": source}
    )  # fmt: skip
    headers = [("decision-id", decision_id.encode())]
    record = LogRecord(Channel.LABELS, Place(0, 0), 1, value, headers)
    label = read_label(record, local_resolvers()[Channel.LABELS], "transactions")
    assert (label.target, label.decision_id) == (flag_id, decision_id)
