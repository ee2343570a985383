"""A batch that the client cannot unpack: it is named, neighbours go on, and dlq skip passes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.rejections import CUT_HEADER
from stream_scorer.__main__ import main
from stream_scorer.dead_letters import skip
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import PARTITIONS, run_json
from tests.support.factories import publish
from tests.support.kafka.bomb import BOMB_BYTES, produce_bomb
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all, wait_readable
from tests.support.scorer_kit import running, scorer_settings
from tests.support.scoring_kit import make_value
from tests.support.waiting import wait_until

PLACE = "1-1"


def test_batch_beyond_the_clients_limit_is_named_and_skipped_with_a_dead_letter(
    environment: GroupSettings,
    kafka: KafkaUnderTest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = environment
    names = TopicSettings(**own.model_dump(include=set(TopicSettings.model_fields)))
    publish(FileStore(tmp_path / "store"))
    values: list[bytes | None] = [make_value(i) for i in range(PARTITIONS)]
    produce(own, own.input_topic, values, PARTITIONS)
    produce_bomb(own, 1)
    settings = scorer_settings(kafka, names, own.kafka_group_id, tmp_path)
    with running(settings.model_copy(update={"partition_stuck_seconds": 4.0})) as scorer:
        wait_until(lambda: "1" in scorer.report()["stuck_partitions"], what="the stuck partition")
        report = scorer.report()
        assert not report["ready"]
        assert f"stream-scorer dlq skip {PLACE}" in report["stuck_partitions"]["1"]
        metrics = scorer._metrics.render().decode().splitlines()
        assert 'fraud_scorer_partition_stuck{partition="1"} 1.0' in metrics
        assert "fraud_scorer_aborts_total 0.0" in metrics
        for _ in range(2):
            produce(own, own.input_topic, values, PARTITIONS)
        wait_until(
            lambda: len(read_all(own, own.output_topic)) == 3 + 4, what="the neighbours' scores"
        )
        with monkeypatch.context() as patch:
            patch.setattr(skip, "_JOIN_SECONDS", 6.0)
            assert main(["dlq", "skip", PLACE]) == 1  # a scorer is running
        assert "stop all scorers first" in capsys.readouterr().err
    named = [r for r in caplog.records if "cannot be read" in r.getMessage()]
    assert [r.getMessage().startswith("the batch at offset 1 of") for r in named].count(True) == 1

    wait_readable(own, own.output_topic, own.dlq_topic)
    code, audit = run_json(own, capsys, "verify", "--timeout", "20")
    assert (code, audit["inputs"], audit["faults"]["missing"]) == (1, 10, 3)
    for place, why in (
        ("1-2", "1-1 has no outcome yet"),
        ("1-0", "0 is not one of them"),
        ("0-3", "3 is not one of them"),
        ("9-0", "has no partition 9: its partitions are 0 to 2"),
    ):
        assert main(["dlq", "skip", place]) == 1
        assert why in capsys.readouterr().err
    code, done = run_json(own, capsys, "dlq", "skip", PLACE)
    assert (code, done["next_offset"], done["dead_letters"], done["has_values"]) == (0, 2, 1, True)
    wait_readable(own, own.dlq_topic)
    (dead,) = read_all(own, own.dlq_topic)
    assert (dead.partition, dead.key) == (1, b"bomb")
    assert dead.headers["__connect.errors.offset"] == b"1"
    assert dead.headers["__connect.errors.stage"] == b"framing"
    assert dead.headers["__connect.errors.exception.class.name"] == b"UnreadableBatch"
    assert dead.headers[CUT_HEADER] == str(BOMB_BYTES + 2).encode()
    with running(settings):
        wait_until(lambda: len(read_all(own, own.output_topic)) == 9, what="the records after it")
    wait_readable(own, own.output_topic, own.dlq_topic)
    code, audit = run_json(own, capsys, "verify", "--sample", "1")
    assert (code, audit["verified"], audit["inputs"]) == (0, True, 10)
