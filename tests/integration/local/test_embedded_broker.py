from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.kafka.admin import topic_config, topic_partitions
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.config import read_properties
from stream_scorer.kafka.driver import KafkaError
from stream_scorer.kafka.reader import fetch_span
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES
from stream_scorer.local.jars import LockedJar, fetch_with_jgo
from stream_scorer.local.probe import PROBE_TOPIC, is_port_free, pick_free_port
from stream_scorer.runtime.settings import KafkaSettings
from tests.conftest import MakeTopics, StartBroker
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.waiting import wait_until

TXN_TIMEOUT = 90.0


def produce_in_txn(
    settings: KafkaSettings, topic: str, values: list[bytes], *, commit: bool = True
) -> None:
    producer = open_producer(settings, **{"transactional.id": f"txn-{topic}"})
    producer.init_transactions(TXN_TIMEOUT)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush(TXN_TIMEOUT)  # an abort right after produce is sometimes fatal
    if commit:
        producer.commit_transaction(TXN_TIMEOUT)
    else:
        producer.abort_transaction(TXN_TIMEOUT)


def read_committed(
    settings: KafkaSettings, topic: str, count: int, group_id: str, **more: object
) -> list[bytes]:
    """The first ``count`` committed values of a topic; fails if fewer arrive in time."""
    consumer = open_consumer(settings, group_id, **more)
    values: list[bytes] = []

    def has_all() -> bool:
        for record in consumer.consume(count, timeout=0.1):
            assert record.error() is None, record.error()
            values.append(record.value() or b"")
        return len(values) >= count

    try:
        consumer.subscribe([topic])
        wait_until(has_all, what=f"reading {count} records")
        return values
    finally:
        consumer.close()


def is_running(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_committed_txn_is_read_and_an_aborted_one_is_not(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str
) -> None:
    topic = topics().input_topic
    produce_in_txn(kafka.settings, topic, [b"aborted"], commit=False)
    produce_in_txn(kafka.settings, topic, [b"one", b"two"])

    assert read_committed(kafka.settings, topic, 2, group_id) == [b"one", b"two"]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_both_group_protocols_join_and_read(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, protocol: str
) -> None:
    topic = topics(3).input_topic
    produce_in_txn(kafka.settings, topic, [b"value"])

    values = read_committed(kafka.settings, topic, 1, group_id, **{"group.protocol": protocol})

    assert values == [b"value"]
    admin = open_admin(kafka.settings)
    group = admin.list_consumer_groups().result(60).valid
    types = {found.group_id: found.type.name for found in group}
    assert types[group_id] == protocol.upper()


def test_topics_have_the_requested_partitions_and_limits(
    kafka: KafkaUnderTest, topics: MakeTopics
) -> None:
    made = topics(12)

    admin = open_admin(kafka.settings)
    names = [made.input_topic, made.output_topic, made.dlq_topic, made.labels_topic]
    assert topic_partitions(admin, names, 10) == dict.fromkeys(names, 12)
    limit = topic_config(admin, made.output_topic)["max.message.bytes"]
    assert int(limit) == OUTPUT_MAX_BYTES


def test_record_at_the_output_limit_goes_through(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str
) -> None:
    topic = topics().output_topic
    value = bytes(OUTPUT_MAX_BYTES - 1000)  # the rest is for the headers of batch and record
    producer = open_producer(kafka.settings, **{"compression.type": "none"})
    outcome: list[KafkaError | None] = []

    producer.produce(topic, value, on_delivery=lambda error, _: outcome.append(error))
    producer.flush(90)

    assert outcome == [None]
    values = read_committed(kafka.settings, topic, 1, group_id)
    assert [len(found) for found in values] == [len(value)]


def test_started_broker_has_acknowledged_a_record(own_broker: StartBroker) -> None:
    broker = own_broker()

    assert broker.bootstrap_servers == f"127.0.0.1:{broker.port}"
    watermarks = open_consumer(broker.settings, "watermarks")
    try:
        span = fetch_span(watermarks, PROBE_TOPIC, 0)
        assert span.low == 0
        assert span.high >= 1  # more, if a response was late and the probe was sent again
    finally:
        watermarks.close()


def test_kill_and_restart_keep_port_and_committed_records(
    own_broker: StartBroker, topics: MakeTopics, group_id: str
) -> None:
    broker = own_broker()
    topic = topics(settings=broker.settings).input_topic
    values = [str(number).encode() for number in range(500)]
    produce_in_txn(broker.settings, topic, values)
    address, pid = broker.bootstrap_servers, broker.pid

    broker.kill()
    assert not broker.is_alive
    broker.restart()

    assert broker.bootstrap_servers == address
    assert broker.pid != pid
    # The old registration expires soon, so that a restart is not much slower than a start.
    properties = read_properties(broker.folder / "server.properties")
    assert properties["broker.session.timeout.ms"] == "2000"
    assert read_committed(broker.settings, topic, 500, group_id) == values


def test_port_in_use_is_refused_at_once(own_broker: StartBroker) -> None:
    broker = own_broker()

    with pytest.raises(UsageError, match=f"another process uses port {broker.port} on 127.0.0.1"):
        own_broker(port=broker.port)
    assert broker.is_alive


def test_folder_of_a_running_broker_is_refused(own_broker: StartBroker) -> None:
    broker = own_broker()
    names = sorted(path.name for path in broker.folder.iterdir())
    properties = (broker.folder / "server.properties").read_bytes()

    for claimed in (True, False):
        if (
            not claimed
        ):  # as by a Kafka that was started in another way, which has only its own lock
            (broker.folder / ".lock").unlink()
        with pytest.raises(UsageError, match="another Kafka uses"):
            own_broker(broker.folder)
        # refused before anything of the running broker was touched
        assert sorted(path.name for path in broker.folder.iterdir()) == names
        assert (broker.folder / "server.properties").read_bytes() == properties
    assert broker.is_alive


def test_folder_may_be_named_in_any_language(own_broker: StartBroker, tmp_path: Path) -> None:
    folder = tmp_path / "brökär 中🦊"
    broker = own_broker(folder)
    assert (folder / "broker.log").stat().st_size
    assert (folder / "data" / f"{PROBE_TOPIC}-0").is_dir()
    broker.restart()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_failed_start_shows_the_brokers_own_errors(own_broker: StartBroker) -> None:
    with pytest.raises(
        FatalError, match=r"exited with code 1 while starting(.|\n)*num\.io\.threads"
    ):
        own_broker(properties={"num.io.threads": "-3"})


def test_temporary_folder_is_removed_and_a_given_one_kept(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    temporary, kept = own_broker(), own_broker(tmp_path / "kept")
    gone = temporary.folder

    temporary.close()
    kept.close()

    assert not gone.exists()
    assert (tmp_path / "kept/data/meta.properties").exists()
    assert is_port_free(kept.port)
    assert not kept.is_alive


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals a child when its parent ends"
)
def test_broker_ends_with_a_killed_parent(own_broker: StartBroker) -> None:
    script = (
        "from stream_scorer.local.broker import EmbeddedBroker\n"
        "with EmbeddedBroker() as broker:\n"
        "    print(broker.pid, broker.folder, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert is_running(int(pid))
        parent.kill()

    wait_until(lambda: not is_running(int(pid)), 60, what="the end of the orphan")
    shutil.rmtree(folder)  # no process was left to do it


def test_foreground_broker_stops_on_sigterm_with_exit_code_0(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    port = pick_free_port()
    script = (
        "import sys; from pathlib import Path; from stream_scorer.local.broker import run_broker\n"
        f"sys.exit(run_broker(Path(sys.argv[1]), {port}))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert first == f"Apache Kafka at 127.0.0.1:{port}, data in {tmp_path}\n"
    assert "Traceback" not in rest
    assert is_port_free(port)


def test_jars_without_a_network_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{pick_free_port()}")  # no server listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(
        UsageError, match=r"cannot download Kafka.s jars: no connection.*KAFKA_BOOTSTRAP"
    ):
        fetch_with_jgo(LockedJar("org.slf4j", "slf4j-api", "1.7.36", "0" * 64), tmp_path)
