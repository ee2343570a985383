"""Restores of card history that meet bad luck, on a running scorer and real Kafka.

Every score is compared, bit for bit, with one plain pass over the inputs of its partition.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.features.history.codec import encode_snapshot
from stream_scorer.features.history.partition import records_sum
from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_names import SnapshotName
from stream_scorer.settings import GroupSettings, ScorerSettings
from stream_scorer.state.restore import PartitionRestore
from tests.chaos.faulty_proxy import FaultyProxy, Mode, faulty_proxy
from tests.conftest import MakeTopics
from tests.support.command_kit import delete_before, run_json
from tests.support.history.restore_log import RestoreLog, noted_restores
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.scorer_kit import running, scorer_settings
from tests.support.state.history_kit import fold
from tests.support.state.mutants import features_after_the_update
from tests.support.state.published import SPEC, publish_history
from tests.support.state.scored_kit import ScoredStream, rows_of
from tests.support.stores import s3_place
from tests.support.waiting import wait_until

PARTITIONS = 2
WIDTHS = {space.name: space.width for space in SPEC.spaces}
_MAX_BYTES = 10**7


@dataclass
class Bed:
    """Two partitions with histories of some hundred inputs, and their snapshots."""

    stream: ScoredStream
    log: pytest.LogCaptureFixture
    days: float = 0.0

    @property
    def settings(self) -> ScorerSettings:
        return self.stream.settings

    @property
    def era(self) -> Era:
        era = self.stream.histories.latest_era(SPEC.fingerprint)
        assert era is not None
        return era

    def produce(self, n: int = 100) -> None:
        """Send transactions of the time after those before."""
        self.stream.produce(rows_of(n, round(self.days) + 1, self.days))
        self.days += 20

    def score_in_two_parts(self) -> list[dict[int, int]]:
        """Inputs of two runs; returns the snapshots at the end of each, by partition."""
        with running(self.settings):
            self.produce()
            first = self.wait_for_snapshots()
            self.produce()
            return [first, self.wait_for_snapshots()]

    def wait_for_snapshots(self) -> dict[int, int]:
        """Wait until each partition has a score of every input, and a snapshot after the last."""
        self.stream.wait_for_scores()
        ends = {p: len(own) for p, own in enumerate(self.stream.inputs)}

        def newest() -> dict[int, int]:
            return {p: names[0].next_offset for p, names in self.snapshots().items()}

        wait_until(lambda: newest() == ends, what=f"snapshots at {ends}", interval=0.1)
        return ends

    def snapshots(self) -> dict[int, list[SnapshotName]]:
        """The snapshots of each partition, newest first."""
        return self.stream.histories.all_snapshots(self.era)

    def edit(self, name: SnapshotName, change: Callable[[bytes], bytes]) -> None:
        """Replace a stored snapshot."""
        objects = FileObjects(Path(self.settings.store_uri.removeprefix("file://")))
        found = objects.read(name.key, _MAX_BYTES)
        assert found is not None
        objects.remove(name.key)
        assert objects.create(name.key, change(found.content))

    def remove_snapshots(self, partition: int) -> None:
        """Remove all of a partition from the store."""
        objects = FileObjects(Path(self.settings.store_uri.removeprefix("file://")))
        for name in self.snapshots()[partition]:
            objects.remove(name.key)

    def empty_cache(self) -> None:
        """What is on the local disk is gone, as on another node."""
        shutil.rmtree(self.settings.history_cache_dir)

    def restores(self) -> RestoreLog:
        """What was logged since the last call."""
        found = noted_restores(self.log.records)
        self.log.clear()
        return found

    def scored(self, partition: int) -> int:
        """How many inputs of a partition have a score."""
        return sum(place[0] == partition for place in self.stream.read_scores())


@pytest.fixture
def bed(
    kafka: KafkaUnderTest,
    topics: MakeTopics,
    environment: GroupSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> Bed:
    """Topics and a store with a version that reads card history; commands find both."""
    names = topics(PARTITIONS)
    settings = scorer_settings(kafka, names, environment.kafka_group_id, tmp_path)
    settings = settings.model_copy(update={"history_snapshot_seconds": 0.2})
    for name, value in (names.model_dump() | {"model_store_uri": settings.store_uri}).items():
        monkeypatch.setenv(name.upper(), str(value))
    stream = ScoredStream(settings, FileStore(tmp_path / "store"), PARTITIONS)
    publish_history(stream.store, stream.histories)
    caplog.set_level(logging.INFO, "stream_scorer")
    return Bed(stream, caplog)


def test_torn_snapshots_are_passed_over_and_without_any_the_whole_era_is_replayed(
    bed: Bed,
) -> None:
    older, newest = bed.score_in_two_parts()
    assert bed.restores().checks == {"unchecked": PARTITIONS}  # nothing was committed before
    for names in bed.snapshots().values():
        bed.edit(names[0], lambda content: content[: len(content) // 2])
    bed.empty_cache()
    with running(bed.settings):
        bed.produce()
        ends = bed.wait_for_snapshots()
    found = bed.restores()
    assert found.checks == {"checked": PARTITIONS}
    assert found.damaged == PARTITIONS
    assert found.replayed == sum(newest.values()) - sum(older.values())
    for partition in range(PARTITIONS):
        bed.remove_snapshots(partition)
    bed.empty_cache()
    with running(bed.settings):
        bed.produce()
        bed.stream.check_scores()
    found = bed.restores()
    assert found.checks == {"checked": PARTITIONS}
    assert found.replayed == sum(ends.values())


def alter(content: bytes, bed: Bed, name: SnapshotName) -> bytes:
    """Add one to the count of a client, and make every digest right again."""
    found = bed.stream.histories.read_snapshot(bed.era, name, WIDTHS)
    assert found is not None
    assert found[0] == content
    snapshot = found[1]
    space = SPEC.spaces[0].name
    words = snapshot.records.spaces[space].copy()
    words[len(words) // 2, 2] += np.uint64(1)
    records = snapshot.records._replace(spaces={**snapshot.records.spaces, space: words})
    header = replace(snapshot.header, check_sum=records_sum(SPEC, records))
    return encode_snapshot(header, records)


def test_altered_record_in_an_intact_snapshot_holds_that_partition_alone(bed: Bed) -> None:
    """Control: nothing but the mark can tell that this state is not the one of the scores."""
    _, newest = bed.score_in_two_parts()
    name = bed.snapshots()[0][0]
    objects = FileObjects(Path(bed.settings.store_uri.removeprefix("file://")))
    stored = objects.read(name.key, _MAX_BYTES)
    assert stored is not None
    altered = alter(stored.content, bed, name)
    assert altered != stored.content
    bed.edit(name, lambda _: altered)
    bed.empty_cache()
    bed.restores()
    with running(bed.settings) as process:
        bed.produce()
        ends = {p: len(own) for p, own in enumerate(bed.stream.inputs)}
        wait_until(lambda: bed.scored(1) == ends[1], what="scores of the other partition")
        wait_until(lambda: "check sum" in (process.report()["problem"] or ""), what="the reason")
        assert "partition 0" in process.report()["problem"]
    assert bed.scored(0) == newest[0] < ends[0]
    found = bed.restores()
    assert found.checks == {"checked": 1}
    assert len(found.mismatches) == 1
    bed.edit(name, lambda _: stored.content)
    bed.empty_cache()
    with running(bed.settings):
        bed.stream.check_scores()
    assert bed.restores().checks == {"checked": PARTITIONS}


def test_scores_that_see_their_own_transaction_are_found_by_recomputing_them_and_by_no_mark(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control: the states are right, so the marks are, and only the scores are not."""
    with monkeypatch.context() as patch:
        features_after_the_update(patch)
        with running(bed.settings):
            bed.produce()
            bed.wait_for_snapshots()
    with running(bed.settings):
        bed.produce()
        bed.wait_for_snapshots()
    found = bed.restores()
    assert found.checks == {"unchecked": PARTITIONS, "checked": PARTITIONS}
    code, report = run_json(bed.settings, capsys, "verify", "--recompute", "1")
    assert code == 1
    wrong = report["recompute"]["not_reproduced"]
    assert report["faults"]["not_reproduced"] == wrong > 10
    assert report["recompute"]["marks_compared"] == PARTITIONS
    assert report["recompute"]["compared"] == report["scores"]
    with pytest.raises(AssertionError):
        bed.stream.check_scores()


def test_inputs_that_are_gone_hold_their_partition_until_a_new_era_continues_without_them(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    _, committed = bed.score_in_two_parts()
    bed.remove_snapshots(0)
    bed.empty_cache()
    first = committed[0] - 5
    delete_before(bed.settings, bed.settings.input_topic, {0: first})
    bed.restores()
    with running(bed.settings) as process:
        bed.produce()
        ends = {p: len(own) for p, own in enumerate(bed.stream.inputs)}
        wait_until(lambda: bed.scored(1) == ends[1], what="scores of the other partition")
        wanted = (
            f"history of partition 0 needs inputs from offset 0, and the topic "
            f"{bed.settings.input_topic} begins at {first}"
        )
        wait_until(lambda: wanted in (process.report()["problem"] or ""), what="the gap")
        assert "HISTORY_ON_GAP=continue" in process.report()["problem"]
    assert bed.scored(0) == committed[0]
    with running(bed.settings.model_copy(update={"history_on_gap": "continue"})):
        bed.produce()
        scores = bed.stream.wait_for_scores()
    assert bed.stream.histories.eras(SPEC.fingerprint) == [1, 2]
    assert f"from offset 0 to before {first} are missing" in bed.era.why
    for partition, begin in ((0, first), (1, 0)):
        rows = bed.stream.inputs[partition]
        expected = bed.stream.expected("v1", rows[begin:])
        since = max(begin, committed[partition])
        found = [scores[partition, at][1] for at in range(since, len(rows))]
        assert found == expected[since - begin :].tolist()
    assert not bed.restores().mismatches
    whole = fold(SPEC, build_batch(bed.stream.inputs[0]))[0][committed[0] :]
    lost = fold(SPEC, build_batch(bed.stream.inputs[0][first:]))[0][5:]
    assert whole.tobytes() != lost.tobytes()  # so the comparison above can tell
    _, report = run_json(bed.settings, capsys, "verify", "--recompute", "1")
    assert report["faults"]["not_reproduced"] == 0
    assert report["recompute"]["compared"] > 0
    assert report["recompute"]["marks_compared"] == PARTITIONS, report["recompute"]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_partition_that_moves_while_it_is_restored_is_restored_by_its_next_owner(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Nobody waits for the restore in progress: neither the rebalance nor the next owner."""
    bed.score_in_two_parts()
    bed.restores()
    gate, restoring = threading.Event(), dict[int, int]()
    nearest = PartitionRestore.nearest

    def wait_first(self: PartitionRestore, partition: int, offset: int) -> Any:
        restoring[threading.get_ident()] = partition
        assert gate.wait(240)
        return nearest(self, partition, offset)

    monkeypatch.setattr(PartitionRestore, "nearest", wait_first)
    settings = bed.settings.model_copy(update={"kafka_group_protocol": protocol})
    with running(settings) as first:
        wait_until(lambda: len(restoring) == 1, what="a restore")
        with running(settings) as second:
            try:
                wait_until(lambda: len(restoring) == 2, what="the second member's restore")
                assert [first.report()["problem"], second.report()["problem"]] != [None, None]
            finally:
                gate.set()
            bed.produce()
            bed.stream.check_scores()
    found = bed.restores()
    assert found.checks["checked"] >= PARTITIONS
    assert found.checks["unchecked"] == 0
    assert not found.mismatches


@pytest.fixture
def proxied(s3_endpoint: str, bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The bed's store is an S3 bucket, which scorers reach through a proxy."""
    place = s3_place(s3_endpoint)
    with faulty_proxy(s3_endpoint) as proxy:
        where = {"model_store_uri": place.objects.where, "aws_endpoint_url_s3": proxy.url}
        for name, value in where.items():
            monkeypatch.setenv(name.upper(), value)
        bed.stream = ScoredStream(
            bed.settings.model_copy(update=where), FileStore(Path("unused")), PARTITIONS
        )
        publish_history(place.open(), bed.stream.histories)
        yield proxy


def test_scorer_that_starts_while_the_store_is_down_continues_from_its_cache(
    bed: Bed, proxied: FaultyProxy
) -> None:
    bed.score_in_two_parts()
    bed.restores()
    proxied.mode = Mode.DOWN
    with running(bed.settings):
        bed.produce()
        bed.stream.wait_for_scores()
    assert Mode.DOWN in proxied.requests
    found = bed.restores()
    assert found.checks == {"checked": PARTITIONS}
    assert (found.cached, found.replayed) == (PARTITIONS, 0)
    proxied.mode = Mode.OK
    with running(bed.settings):  # what was scored meanwhile has no snapshot
        bed.produce()
        bed.stream.wait_for_scores()
    found = bed.restores()
    assert found.checks == {"checked": PARTITIONS}
    assert found.replayed > 0
