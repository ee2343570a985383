"""Measures whole processes: start, memory, latency, several workers, ``/predict``.

Everything uses loopback addresses and ends by itself.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.records import decode_record
from stream_scorer.cli.produce import produce_batches
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.probe import pick_free_port
from stream_scorer.local.scrape import read_sample
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.processes import end_child, start_child
from stream_scorer.runtime.settings import TopicSettings
from tests.bench.contestants import PARTITIONS, World
from tests.support.names import random_topics

_RATE: Final = 500.0
_LATENCY_SECONDS: Final = 20.0
_WARM_SECONDS: Final = 4.0
_LAST_SCORE_SECONDS: Final = 10.0  # usually a tenth of a second, longer on a busy machine
_FEWER_PARTITIONS: Final = (1, 3, 6)
_UNVERIFIED: Final = {"transaction.partition.verification.enable": "false"}
_REQUESTS: Final = 1000
_WORKER_ROWS: Final = 400_000
_WORKER_REPETITIONS: Final = 3
_AT_WORK_ROWS: Final = 4_000


def measure_services(world: World, say: Callable[[str], None]) -> dict[str, Any]:
    """All measurements, in milliseconds, MiB and rows per second."""
    with with_store(world) as folder:
        found: dict[str, Any] = {}
        say("start of a process, memory, latency …")
        found |= measure_latency(world, folder)
        say("/predict …")
        found |= _predict(world, folder)
        say("one process and two …")
        found |= _workers(world, folder)
    return found


def scorer_environment(
    world: World, folder: Path, topics: TopicSettings, **more: str
) -> dict[str, str]:
    return (
        dict(os.environ)
        | {
            "KAFKA_BOOTSTRAP_SERVERS": world.settings.kafka_bootstrap_servers,
            "KAFKA_GROUP_ID": f"bench-{uuid.uuid4().hex[:8]}",
            "MODEL_STORE_URI": (folder / "store").as_uri(),
            "MODEL_CACHE_DIR": str(folder / f"cache-{uuid.uuid4().hex[:8]}"),
            "METRICS_HOST": "127.0.0.1",
            "DASHBOARD_STATE_DIR": str(folder / "dashboard"),
            **{name.upper(): value for name, value in topics.model_dump().items()},
        }
        | more
    )


@contextmanager
def running(
    module: str, arguments: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        child = start_child([sys.executable, "-m", module, *arguments], output, environment)
    try:
        yield child
    finally:
        end_child(child, 30)


def new_topics(world: World, partitions: int = PARTITIONS) -> TopicSettings:
    topics = random_topics()
    admin = open_admin(world.settings)
    create_topics(admin, wanted_topics(topics), partitions, 1)
    return topics


def latency_by_condition(world: World) -> dict[str, Any]:
    """Producer-to-committed-score latency at 500 a second, under several conditions.

    The client sends a request for each partition, and a broker serves the requests of a connection
    sequentially. About half of the time of each is the broker's check that the partition is in the
    transaction (KIP-890), which can be switched off in the broker.
    """
    found: dict[str, Any] = {}
    with with_store(world) as folder:
        for count in _FEWER_PARTITIONS:
            name = f"{count} partition{'s' * (count > 1)}"
            found[name] = measure_latency(world, folder, count)["latency_ms_at_500_a_second"]
        two = measure_latency(world, folder, arguments=("--workers", "2"))
        found["two workers"] = two["latency_ms_at_500_a_second"]
        with EmbeddedBroker(properties=_UNVERIFIED) as broker:
            elsewhere = replace(world, settings=broker.settings)
            without = measure_latency(elsewhere, folder)
            found["verification off"] = without["latency_ms_at_500_a_second"]
    return found


@contextmanager
def with_store(world: World) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        store = FileStore(Path(name) / "store")
        store.promote(store.publish(*build_files(world.draft)), store.current())
        yield Path(name)


def measure_latency(
    world: World, folder: Path, partitions: int = PARTITIONS, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """Start to first score, resident memory, and latency at 500 records per second."""
    topics = new_topics(world, partitions)
    port = pick_free_port()
    environment = scorer_environment(world, folder, topics, METRICS_PORT=str(port))
    producer = open_producer(world.settings, **{"linger.ms": 0})
    producer.produce(topics.input_topic, world.values[0], b"1", 0)
    producer.flush()
    began = time.perf_counter()
    command = ["run", *arguments]
    with running("stream_scorer", command, environment, folder / "scorer.log") as child:
        reader = _Reader(world, topics.output_topic, partitions)
        first = reader.wait_for_first() - began
        sent = _send_steadily(world, topics.input_topic, producer, partitions)
        deadline = time.perf_counter() + _LAST_SCORE_SECONDS
        while not sent.keys() <= reader.seen.keys() and time.perf_counter() < deadline:
            time.sleep(0.05)
        memory = _resident_mib(child.pid)
        reader.stop()
    warm = min(sent.values()) + _WARM_SECONDS
    took = [
        (reader.seen[number] - at) * 1000
        for number, at in sent.items()
        if number in reader.seen and at > warm
    ]
    return {
        "start_to_first_score_seconds": round(first, 2),
        "resident_memory_mib": round(memory),
        "latency_ms_at_500_a_second": _percentiles(took),
        "latency_samples": took,
    }


def _send_steadily(world: World, topic: str, producer: Any, partitions: int) -> dict[int, float]:
    """Transaction id → time it was produced; ids are unique, rows are from the world."""
    ids = world.batch.ids.tolist()
    sent: dict[int, float] = {}
    began = time.perf_counter()
    for k in range(1, int(_RATE * _LATENCY_SECONDS)):
        due = began + k / _RATE
        while (left := due - time.perf_counter()) > 0:
            producer.poll(min(left, 0.002))
        row = k % len(ids)
        if ids[row] in sent:
            break
        sent[ids[row]] = time.perf_counter()
        producer.produce(topic, world.values[row], b"%d" % row, row % partitions)
    producer.flush(10)
    return sent


class _Reader:
    """Records when a read_committed reader receives each score."""

    def __init__(self, world: World, topic: str, partitions: int) -> None:
        self.seen: dict[int, float] = {}
        self._stop = threading.Event()
        self._consumer = open_consumer(
            world.settings, f"reader-{uuid.uuid4().hex[:8]}", **{"fetch.wait.max.ms": 10}
        )
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for_first(self) -> float:
        """Wait for the first score; the time it arrived."""
        deadline = time.perf_counter() + 60
        while not self.seen and time.perf_counter() < deadline:
            time.sleep(0.005)
        return min(self.seen.values())

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(5)
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.05)
            if message is None or message.error() is not None:
                continue
            now = time.perf_counter()
            record = decode_record("fraud_score", message.value())
            self.seen.setdefault(record["transaction_id"], now)


def _predict(world: World, folder: Path) -> dict[str, Any]:
    """``POST /predict`` with one transaction over one connection, timed in client and server."""
    port = pick_free_port()
    topics = new_topics(world)
    environment = scorer_environment(
        world, folder, topics, DASHBOARD_PORT=str(port), LOG_FORMAT="json", LOG_LEVEL="INFO"
    )
    bodies = [
        json.dumps(
            {"transactions": [{k: v for k, v in world.batch.row(i).items() if v is not None}]}
        )
        for i in range(50)
    ]
    log = folder / "dashboard.log"
    with running("dashboard", [], environment, log):
        _wait(f"http://127.0.0.1:{port}/readyz")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        took = []
        for k in range(_REQUESTS):
            began = time.perf_counter()
            connection.request(
                "POST", "/predict", bodies[k % 50], {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            took.append((time.perf_counter() - began) * 1000)
            if answer.status != 200:
                raise RuntimeError(f"/predict answered {answer.status}")
    return {
        "predict_ms_one_transaction_seen_by_the_client": _percentiles(took[50:]),
        "predict_ms_one_transaction_in_the_server": _percentiles(_logged(log)[50:]),
    }


def _logged(log: Path) -> list[float]:
    """Milliseconds from a request's arrival to the end of its answer, as the server logs them."""
    entries = (json.loads(line) for line in log.read_text("utf-8").splitlines() if line[:1] == "{")
    return [e["latency_ms"] for e in entries if e["message"].startswith("POST /predict 200")]


def _workers(world: World, folder: Path) -> dict[str, Any]:
    """Rows per second of ``run --workers N`` over a full topic, while all workers are busy.

    Runs with one and two workers alternate; the cores are those of the last pair of runs.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    cores = {}
    topics = new_topics(world)
    batches = [world.batch] * (_WORKER_ROWS // len(world.batch))
    rows = sum(map(len, batches))
    produce_batches(open_producer(world.settings), topics.input_topic, batches)
    for count in (1, 2) * _WORKER_REPETITIONS:
        port = pick_free_port()
        environment = scorer_environment(
            world, folder, topics, METRICS_PORT=str(port), KAFKA_SESSION_TIMEOUT_MS="6000"
        )
        arguments = ["run", "--workers", str(count)]
        with running("stream_scorer", arguments, environment, folder / "workers.log") as child:
            ports = [port + i for i in range(count)]
            rate, cores[str(count)] = _steady_rate(ports, rows, child.pid)
            rates[count].append(rate)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "one_process_rows_a_second": round(statistics.median(rates[1])),
        "two_processes_rows_a_second": round(statistics.median(rates[2])),
        "two_over_one": round(statistics.median(ratios), 2),
        "two_over_one_of_each_pair": [round(ratio, 2) for ratio in sorted(ratios)],
        "cores_busy_by_processes": cores,
    }


def _steady_rate(ports: list[int], rows: int, pid: int) -> tuple[float, dict[str, float]]:
    """Rows per second from when every process is busy until nine tenths are done.

    Also the number of cores that the scorers used meanwhile, and that everything else used, which
    is mostly the broker.
    """
    started = at_start = scorers = everything = 0.0
    deadline = time.perf_counter() + 180
    while time.perf_counter() < deadline:
        counts = [outcomes_at(port) for port in ports]
        now, total = time.perf_counter(), sum(counts)
        if not started and min(counts) > _AT_WORK_ROWS:
            started, at_start = now, total
            scorers, everything = _cpu_seconds(pid), _machine_seconds()
        if total >= rows * 0.9:
            if not started or now - started < 1.0:
                raise RuntimeError("the topic is too short for a measurement")
            seconds = now - started
            by_scorers = (_cpu_seconds(pid) - scorers) / seconds
            by_all = (_machine_seconds() - everything) / seconds
            cores = {"scorers": round(by_scorers, 2), "others": round(by_all - by_scorers, 2)}
            return (total - at_start) / seconds, cores
        time.sleep(0.05)
    raise RuntimeError("the scorers did not finish the topic in time")


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process and its descendants so far."""
    ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return ticks / os.sysconf("SC_CLK_TCK") + sum(_cpu_seconds(int(child)) for child in children)


def _machine_seconds() -> float:
    """Processor time of everything on the machine so far: user, nice, system, interrupts."""
    figures = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    busy = sum(int(figures[place]) for place in (0, 1, 2, 5, 6))
    return busy / os.sysconf("SC_CLK_TCK")


def outcomes_at(port: int) -> int:
    try:
        return read_sample(f"http://127.0.0.1:{port}/metrics").outcomes
    except OSError:
        return 0


def _wait(url: str) -> None:
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def _percentiles(values: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.percentile(values, share)), 2)
        for name, share in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
    } | {"count": len(values)}
