"""The commands of card history on real Kafka and a folder as the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.kafka.admin import describe_topics, extend_topics
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.mark import TOPIC_ID, format_mark
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.settings import GroupSettings
from stream_scorer.state.marks import history_mark
from tests.support.command_kit import PARTITIONS, run_json
from tests.support.factories import publish
from tests.support.kafka.murmur2 import murmur2_partition
from tests.support.state.history_kit import DAY, fold, make_card_rows
from tests.support.state.published import SPEC, publish_history
from tests.support.stores import store_settings
from tests.support.waiting import wait_until

Rows = list[dict[str, Any]]


@dataclass
class Bed:
    """Inputs on Kafka, a store, and what the histories have to be."""

    settings: GroupSettings
    store: FileStore
    folder: Path

    def __post_init__(self) -> None:
        self.histories = open_history_store(store_settings(model_store_uri=self.folder.as_uri()))
        self.inputs: list[Rows] = [[] for _ in range(PARTITIONS)]

    def produce(self, rows: Rows, partitions: int = PARTITIONS) -> None:
        """Send transactions with the keys that ``stream-scorer produce`` gives them."""
        producer = open_producer(self.settings)
        for row, value in zip(rows, encode_transactions(build_batch(rows)), strict=True):
            key = str(int(row["card1"])).encode()
            producer.produce(self.settings.input_topic, value, key)
            place = murmur2_partition(key, partitions)
            while len(self.inputs) <= place:
                self.inputs.append([])
            self.inputs[place].append(row)
        assert producer.flush(60) == 0

    def commit(self, era: Era | None = None) -> None:
        """The group has scored everything; with an era, by scorers that use it."""
        topic, found = self.settings.input_topic, []
        topic_id = describe_topics(open_admin(self.settings), [topic], 10)[topic].topic_id or ""
        for partition, rows in enumerate(self.inputs):
            mark: dict[str, str] = {TOPIC_ID: topic_id}
            if era is not None:
                sum_ = self.history(partition).check_sum()
                mark |= history_mark(era.spec, era.number, sum_).fields()
            found.append(TopicPartition(topic, partition, len(rows), format_mark(mark)))
        consumer = open_consumer(self.settings, self.settings.kafka_group_id)
        consumer.commit(offsets=found, asynchronous=False)
        consumer.close()

    def history(self, partition: int, begin: int = 0) -> PartitionHistory:
        rows = self.inputs[partition][begin:]
        history = PartitionHistory(SPEC)
        if rows:
            history = fold(SPEC, build_batch(rows))[1]
        return history

    def era(self) -> Era:
        found = self.histories.latest_era(SPEC.fingerprint)
        assert found is not None
        return found

    def sums(self) -> list[str]:
        return [f"{self.history(p).check_sum():016x}" for p in range(len(self.inputs))]


def rows_of(n: int, seed: int = 1, days: float = 0.0) -> Rows:
    rows = [row for row in make_card_rows(n, seed, cards=30) if "card1" in row]
    for row in rows:
        row["TransactionDT"] += round(days * DAY)
    return rows


@pytest.fixture
def bed(environment: GroupSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bed:
    monkeypatch.setenv("MODEL_STORE_URI", tmp_path.as_uri())
    return Bed(environment, FileStore(tmp_path), tmp_path)


def test_histories_are_built_shown_and_built_again(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    version = publish_history(bed.store, bed.histories)
    bed.produce(rows_of(200))
    bed.commit()
    code, done = run_json(bed.settings, capsys, "history", "build", "--cold")
    assert code == 0
    assert (done["model_version"], done["era"], done["is_cold"]) == (version, 1, True)
    assert [one["check_sum"] for one in done["partitions"]] == bed.sums()
    assert [one["inputs"] for one in done["partitions"]] == [len(rows) for rows in bed.inputs]

    bed.produce(rows_of(60, seed=2, days=60))
    bed.commit(bed.era())
    code, status = run_json(bed.settings, capsys, "history", "status")
    assert code == 0
    assert status["problem"] is None
    debts = [one["replay_debt"] for one in status["partitions"]]
    added = zip(bed.inputs, done["partitions"], strict=True)
    assert debts == [len(rows) - one["next_offset"] for rows, one in added]
    assert status["replay_debt"] == sum(debts) > 0
    assert all(one["mark"]["is_same_history"] for one in status["partitions"])

    code, again = run_json(bed.settings, capsys, "history", "build", "--from", "snapshots")
    assert code == 0
    assert (again["era"], again["is_cold"]) == (2, True)  # the past is still only minutes long
    assert [one["check_sum"] for one in again["partitions"]] == bed.sums()
    assert [one["inputs"] for one in again["partitions"]] == debts
    code, status = run_json(bed.settings, capsys, "history", "status")
    assert status["replay_debt"] == 0
    assert not any(one["mark"]["is_same_history"] for one in status["partitions"])

    card = int(bed.inputs[1][0]["card1"])
    code, shown = run_json(bed.settings, capsys, "history", "show", str(card))
    assert code == 0
    own = [row for row in bed.inputs[1] if row["card1"] == card]
    mails = [record for record in shown["records"] if record["space"] == "mail"]
    assert sum(record["transactions"] for record in mails) == len(own)
    assert main(["history", "status"]) == 0
    assert "era 2 of" in capsys.readouterr().out


def test_replay_begins_at_a_time(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    publish_history(bed.store, bed.histories)
    bed.produce(rows_of(90))
    counts = [len(rows) for rows in bed.inputs]
    first = time.time_ns() // 10**6
    wait_until(lambda: time.time_ns() // 10**6 > first + 1)  # records have whole milliseconds
    since = datetime.fromtimestamp((first + 1) / 1000, UTC).isoformat()
    bed.produce(rows_of(90, seed=2))
    bed.commit()
    flags = ("--cold", "--from", since)
    code, done = run_json(bed.settings, capsys, "history", "build", *flags)
    assert code == 0
    assert [one["begin_offset"] for one in done["partitions"]] == counts
    expected = [bed.history(p, begin=counts[p]).check_sum() for p in range(PARTITIONS)]
    assert [int(one["check_sum"], 16) for one in done["partitions"]] == expected


def test_history_begins_with_a_seed(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    past = rows_of(300, seed=7)
    version = publish_history(bed.store, bed.histories, past, is_promoted=False)
    last = max(row["TransactionDT"] for row in past)
    later = rows_of(90, seed=8)
    for row in later:
        row["TransactionDT"] += last
    bed.produce(later)
    bed.commit()
    assert main(["history", "build"]) == 1
    assert "no version is promoted" in capsys.readouterr().err
    code, done = run_json(bed.settings, capsys, "history", "build", "--seed", version)
    assert code == 0
    seed = bed.era().seed
    assert seed is not None
    assert (done["seed"], done["is_cold"]) == (seed.sha256, False)
    assert sum(one["inputs"] for one in done["partitions"]) == len(later)
    whole = fold(SPEC, build_batch(past + later))[1].sizes().keys
    keys = {space: sum(one["keys"][space] for one in done["partitions"]) for space in whole}
    assert keys == whole


def test_build_says_what_is_missing(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    plain = publish(bed.store)
    assert main(["history", "build", "--cold"]) == 1
    assert f"version {plain} reads no card history" in capsys.readouterr().err
    version = publish_history(bed.store, bed.histories)
    bed.produce(rows_of(20))
    bed.commit()
    for arguments, message in (
        ([], "look back 7"),
        (["--seed", version], f"version {version} was published without a seed"),
        (["--seed", plain], f"version {plain} reads no card history"),
        (["--from", "snapshots"], f"no card history of version {version} yet"),
    ):
        assert main(["history", "build", *arguments]) == 1
        assert message in capsys.readouterr().err
    assert bed.histories.eras(SPEC.fingerprint) == []
    assert main(["history", "status"]) == 1
    assert "has no card history for version" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "build", "rescale"])
def test_unreachable_broker_is_named(
    bed: Bed, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stream_scorer.kafka.topics.METADATA_SECONDS", 1.0)
    version = publish_history(bed.store, bed.histories)
    bed.produce(rows_of(20))
    bed.commit()
    assert main(["history", "build", "--cold"]) == 0
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert main(["history", command, "--model", version]) == 1
    assert "no Kafka broker answered at 127.0.0.1:1" in capsys.readouterr().err


def test_unreachable_store_is_named(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", "s3://models")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for command in (["status"], ["show", "1"], ["build", "--cold"], ["rescale"]):
        assert main(["history", *command]) == 1
        error = capsys.readouterr().err
        assert "s3://models" in error or "127.0.0.1:1" in error
        assert "Traceback" not in error


def extend(settings: GroupSettings, partitions: int) -> None:
    extend_topics(open_admin(settings), [settings.input_topic], partitions, 30)


def test_histories_move_to_more_partitions(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    publish_history(bed.store, bed.histories)
    bed.produce(rows_of(200))
    bed.commit()
    assert main(["history", "build", "--cold"]) == 0
    bed.produce(rows_of(30, seed=2, days=60))
    bed.commit(bed.era())
    assert main(["history", "rescale"]) == 1
    assert "there is nothing to do" in capsys.readouterr().err
    extend(bed.settings, 5)
    code, status = run_json(bed.settings, capsys, "history", "status")
    assert code == 1
    assert "history rescale" in status["problem"]
    code, done = run_json(bed.settings, capsys, "history", "rescale")
    assert code == 0
    assert (done["era"], done["partitions"], done["misplaced"]) == (2, 5, 0)
    rows = [row for own in bed.inputs for row in own]
    widths = {space.name: space.width for space in SPEC.spaces}
    total = 0
    for partition in range(5):
        own = [r for r in rows if murmur2_partition(str(int(r["card1"])).encode(), 5) == partition]
        (name,) = bed.histories.snapshots(bed.era(), partition)
        found = bed.histories.read_snapshot(bed.era(), name, widths)
        assert found is not None
        for space, words in fold(SPEC, build_batch(own))[1].records().spaces.items():
            np.testing.assert_array_equal(found[1].records.spaces[space], words)
            total += len(words)
    assert done["records"] == total
    code, status = run_json(bed.settings, capsys, "history", "status")
    assert (code, status["problem"]) == (0, None)
    assert [one["committed_offset"] for one in status["partitions"]][3:] == [None, None]


def test_histories_do_not_move_while_inputs_are_unscored(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_history(bed.store, bed.histories)
    bed.produce(rows_of(60))
    bed.commit()
    assert main(["history", "build", "--cold"]) == 0
    extend(bed.settings, 5)
    one = rows_of(3, seed=3)[:1]
    old = {**one[0], "card1": card_of(range(3), 5)}
    bed.produce([old], 5)
    assert main(["history", "rescale"]) == 1
    assert "1 input of" in capsys.readouterr().err
    bed.commit()
    bed.produce([{**one[0], "card1": card_of(range(3, 5), 5)}], 5)
    assert main(["history", "rescale"]) == 1
    assert "have records already" in capsys.readouterr().err
    assert bed.histories.eras(SPEC.fingerprint) == [1]


def card_of(partitions: range, count: int) -> float:
    """A card of one of these partitions."""
    found = (c for c in range(1000, 2000) if murmur2_partition(b"%d" % c, count) in partitions)
    return float(next(found))
