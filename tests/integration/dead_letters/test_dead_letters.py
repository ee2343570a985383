"""Dead letters on real Kafka: filters, redrives that are killed, and the limit on rejections."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.__main__ import main
from stream_scorer.dead_letters.dead_letter import DeadLetterFilter, read_dead_letters
from stream_scorer.dead_letters.redrive import redrive
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.probe import PROBE_TOPIC
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.scorer import ScorerProcess
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.rejections import ledger as rejection_ledger
from stream_scorer.stream.rejections.guard import RejectionTally
from stream_scorer.stream.rejections.ledger import KafkaRejectionLedger
from tests.conftest import MakeTopics, StartBroker
from tests.support.command_kit import (
    PARTITIONS,
    error_headers,
    give_outcomes,
    run_json,
    with_inputs,
)
from tests.support.factories import publish
from tests.support.kafka.dying_redrive import CALLS
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import Seen, produce, read_all, wait_readable
from tests.support.scorer_kit import scorer_settings
from tests.support.waiting import wait_until

KILLS = 3
DEAD_LETTERS = 4_000


def fill_with_dead_letters(own: GroupSettings, number: int) -> None:
    """Write dead letters of inputs that need not exist, in txns of a hundred."""
    producer = open_producer(own, **{"transactional.id": own.kafka_group_id})
    producer.init_transactions(30)
    for start in range(0, number, 100):
        producer.begin_transaction()
        for i in range(start, start + 100):
            source = Seen(i % PARTITIONS, i, b"13926", b"%d" % i, {})
            headers = error_headers(source, own.input_topic)
            producer.produce(own.dlq_topic, source.value, source.key, source.partition,
                             headers=headers)  # fmt: skip
        producer.commit_transaction(30)
    wait_readable(own, own.dlq_topic)


def origins(own: GroupSettings) -> Counter[tuple[bytes | None, bytes | None]]:
    """How often each dead letter is on the input topic."""
    return Counter(
        (r.headers["redrive.partition"], r.headers["redrive.offset"])
        for r in read_all(own, own.input_topic)
        if "redrive.offset" in r.headers
    )


@contextmanager
def redriving(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``dlq redrive`` as a process; the environment names the topics."""
    command = [sys.executable, "-m", "stream_scorer", "dlq", "redrive", *arguments]
    process = subprocess.Popen(
        command, env=os.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def written(own: GroupSettings) -> Callable[[], int]:
    """A function that counts the offsets of the input, including uncommitted ones and markers."""
    consumer = open_consumer(own, "reader", **{"isolation.level": "read_uncommitted"})

    def count() -> int:
        places = [TopicPartition(own.input_topic, p) for p in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(place, timeout=60)[1] for place in places)

    return count


def killed_at(count: Callable[[], int], enough: int, process: subprocess.Popen[str]) -> bool:
    """Kill -9 once ``enough`` is written; False if the process had ended before."""
    wait_until(lambda: count() >= enough or process.poll() is not None, interval=0)
    process.send_signal(signal.SIGKILL)
    return process.wait(60) == -signal.SIGKILL


def test_redrive_that_is_killed_repeatedly_redrives_each_exactly_once(
    environment: GroupSettings,
) -> None:
    fill_with_dead_letters(environment, DEAD_LETTERS)
    count, rng = written(environment), random.Random(7)
    killed_halfway = 0
    for _ in range(KILLS):
        with redriving() as process:
            enough = count() + rng.randrange(1, DEAD_LETTERS // KILLS)
            killed_halfway += killed_at(count, enough, process)
        assert set(origins(environment).values()) <= {1}
    before = sum(origins(environment).values())
    with redriving() as process:
        assert process.wait(180) == 0
    wait_readable(environment, environment.input_topic)
    found = origins(environment)
    written_to = {(b"%d" % x.partition, b"%d" % x.offset) for x in read_dead_letters(environment)}
    assert found.keys() == written_to
    assert set(found.values()) == {1}
    assert killed_halfway >= 2
    assert 0 < before < DEAD_LETTERS


def test_redrive_that_dies_at_any_call_redrives_each_exactly_once(
    environment: GroupSettings,
) -> None:
    fill_with_dead_letters(environment, 3_000)
    for call in CALLS:
        command = [sys.executable, "-m", "tests.support.kafka.dying_redrive", call]
        died = subprocess.run(command, check=False, timeout=180, capture_output=True)
        assert died.returncode == -signal.SIGKILL, (call, died.stderr)
    assert main(["dlq", "redrive"]) == 0
    wait_readable(environment, environment.input_topic)
    found = origins(environment)
    assert len(found) == 3_000
    assert set(found.values()) == {1}


def test_concurrent_redrives_duplicate_nothing_and_the_loser_reports_why(
    environment: GroupSettings,
) -> None:
    fill_with_dead_letters(environment, 2_000)
    with redriving() as one, redriving() as two, redriving() as three:
        ends = [(p, p.communicate(timeout=180)) for p in (one, two, three)]
    codes = [process.returncode for process, _ in ends]
    assert 0 in codes
    for process, (_, printed) in ends:
        if process.returncode:
            assert process.returncode == 1
            # Fenced, or its commit overlapped with the other's start: no error code for that.
            last = printed.splitlines()[-1]
            assert "another redrive took over" in last or last.endswith(
                "the command can be run again"
            )
            assert "Traceback" not in printed
    with redriving() as rest:
        assert rest.wait(180) == 0
    wait_readable(environment, environment.input_topic)
    found = origins(environment)
    assert len(found) == 2_000
    assert set(found.values()) == {1}


def test_dead_letters_are_found_by_time_partition_and_exception(
    environment: GroupSettings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inputs = with_inputs(environment, 12)
    give_outcomes(environment, inputs[:6], ["decode"])
    first = list(read_dead_letters(environment))
    border = max(x.time for x in first) + 1
    wait_until(lambda: time.time() * 1000 > border + 1)
    give_outcomes(environment, inputs[6:], ["schema"])
    since = list(read_dead_letters(environment, DeadLetterFilter(since=border)))
    assert [x.stage for x in since] == ["schema"] * 6
    until = list(read_dead_letters(environment, DeadLetterFilter(until=border)))
    assert [x.place for x in until] == [x.place for x in first]
    assert list(read_dead_letters(environment, DeadLetterFilter(since=border + 3_600_000))) == []
    code, printed = run_json(environment, capsys, "dlq", "list", "--since", "1h", "--limit", "4",
                     "--reason", "decodeerror", "--partition", "1")  # fmt: skip
    assert code == 0
    own = [record for record in inputs if record.partition == 1]
    assert printed["dead_letters"] == len(own)
    assert printed["by_stage"].keys() <= {"decode", "schema"}
    assert {x["partition"] for x in printed["newest"]} == {1}
    assert printed["not_listed"] == max(0, len(own) - 4)
    assert main(["dlq", "list", "--limit", "5"]) == 0
    assert "and 7 more older dead letters" in capsys.readouterr().out


def test_tallies_are_kept_for_the_next_process(settings: GroupSettings) -> None:
    ledger = KafkaRejectionLedger(settings, settings.kafka_group_id, settings.input_topic)
    assert ledger.read([0, 1, 2]) == {}
    ledger.write([0, 2], RejectionTally(3, 40, 5, 6))
    ledger.close()
    ledger = KafkaRejectionLedger(settings, settings.kafka_group_id, settings.input_topic)
    assert ledger.read([0, 1, 2]) == {
        0: RejectionTally(3, 40, 5, 6),
        2: RejectionTally(3, 40, 5, 6),
    }
    ledger.close()


@pytest.mark.timeout(240)  # to wait for a commit, or for the close after it, would outlast that
def test_frozen_broker_delays_the_ledger_by_seconds_only(
    own_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = own_broker()
    ledger = KafkaRejectionLedger(broker.settings, "group", PROBE_TOPIC)
    ledger.write([0], RejectionTally(1, 2, 3, 4))
    monkeypatch.setattr(rejection_ledger, "_QUERY_SECONDS", 0.5)
    with frozen(broker):
        for _ in range(2):  # every attempt times out
            with pytest.raises(RetryableError):
                ledger.write([0], RejectionTally(5, 6, 7, 8))
    wait_until(
        lambda: has_written(ledger, RejectionTally(9, 9, 9, 9)), what="the broker to answer again"
    )
    assert ledger.read([0]) == {
        0: RejectionTally(9, 9, 9, 9)
    }  # the late write did not overwrite it
    with frozen(broker):
        with pytest.raises(RetryableError):
            ledger.write([0], RejectionTally(5, 6, 7, 8))
        ledger.close()


@contextmanager
def frozen(broker: EmbeddedBroker) -> Iterator[None]:
    """Stop the broker with SIGSTOP: connections stay open, but nothing answers."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def has_written(ledger: KafkaRejectionLedger, tally: RejectionTally) -> bool:
    """Whether a write succeeded."""
    try:
        ledger.write([0], tally)
    except RetryableError:
        return False
    return True


def test_scorer_restarted_after_too_many_rejections_writes_no_dead_letters_until_allowed(
    kafka: KafkaUnderTest,
    topics: MakeTopics,
    group_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = topics(1)
    publish(FileStore(tmp_path / "store"))
    produce(kafka.settings, names.input_topic, [b"no transaction"] * 100, 1)
    limits: dict[str, Any] = {"rejection_max_run": 25, "batch_max_records": 10}
    scorer = scorer_settings(kafka, names, group_id, tmp_path).model_copy(update=limits)

    def dead_letters_after(starts: int) -> int:
        for _ in range(starts):
            with pytest.raises(
                FatalError, match=r"more than the limit of 25 \(REJECTION_MAX_RUN\)"
            ):
                ScorerProcess(scorer).run()
        wait_readable(kafka.settings, names.dlq_topic)
        return len(read_all(kafka.settings, names.dlq_topic))

    assert dead_letters_after(1) == 20
    assert dead_letters_after(2) == 20
    for name, value in GroupSettings(
        **kafka.settings.model_dump(), **names.model_dump(), kafka_group_id=group_id
    ).model_dump(exclude_none=True).items():  # fmt: skip
        monkeypatch.setenv(name.upper(), str(value))
    assert main(["dlq", "allow", "30"]) == 0
    assert dead_letters_after(1) == 20 + 30 + 20
    assert dead_letters_after(2) == 70


def test_redrive_can_be_limited_to_a_partition_and_a_time(
    settings: GroupSettings,
) -> None:
    give_outcomes(settings, with_inputs(settings, 9), ["decode"])
    future = int(time.time() * 1000) + 3_600_000
    assert redrive(settings, DeadLetterFilter(since=future)).redriven == 0
    assert redrive(settings, DeadLetterFilter(partition=1)).redriven == 3
    wait_readable(settings, settings.input_topic)
    assert {partition for partition, _ in origins(settings)} == {b"1"}
    assert redrive(settings, DeadLetterFilter()).redriven == 6
