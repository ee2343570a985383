"""The system under test: a broker, a group of supervised scorers, a feed and a watch."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.model.store.file_store import FileObjects
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.layout_store import LayoutStore
from stream_scorer.model.store.objects import Objects
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.process.topics import MAX_BYTES, wanted_topics
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.chaos.cluster_admin import AUTHORIZING, ClusterAdmin
from tests.chaos.faulty_proxy import FaultyProxy, faulty_proxy
from tests.chaos.feed import CycledRecords, Feed
from tests.chaos.history.stream import OUTPUT_BYTES, HistoryStream
from tests.chaos.scorer import AT_LEAST_ONCE, CLOCK_FILE, DWELL, MARKS, RESTORE_DWELL
from tests.chaos.supervisor import Supervisor
from tests.chaos.watch import Watch
from tests.support.factories import publish
from tests.support.names import random_topics
from tests.support.processes import ScorerUnderTest, fleet

SESSION_SECONDS: Final = 8.0
TXN_SECONDS: Final = 2.0  # less than a session, so that each can time out without the other
MAX_POLL_SECONDS: Final = 30.0  # a client that stays without an answer is replaced a little later
PARTITIONS: Final = 6
_TICK_SECONDS: Final = 0.05
_CATCH_SECONDS: Final = 90.0  # usually a second, longer on a slow machine
_COMMAND_SECONDS: Final = 1_200.0
_SNAPSHOT_SECONDS: Final = 3.0
_RESTORE_DWELL_SECONDS: Final = 0.05


def broker_properties(session_seconds: float = SESSION_SECONDS) -> dict[str, str]:
    """Settings of a campaign's broker."""
    return {
        **AUTHORIZING,
        "group.consumer.session.timeout.ms": str(int(session_seconds * 1000)),
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "500",
    }


BROKER: Final[Mapping[str, str]] = broker_properties()


@dataclass(frozen=True, slots=True)
class Event:
    """A fault that lasted from ``begun`` to ``ended`` (monotonic seconds)."""

    name: str
    begun: float
    ended: float
    recovered: float | None = None
    """Seconds from the end of the fault to the next committed batch."""


@dataclass(slots=True)
class World:
    """Everything that a fault may change."""

    broker: EmbeddedBroker
    admin: ClusterAdmin
    topics: TopicSettings
    group_id: str
    partitions: int
    folder: Path
    supervisor: Supervisor
    feed: Feed
    watch: Watch
    rng: random.Random
    models: Models
    proxy: FaultyProxy | None
    stack: ExitStack
    history: HistoryStream | None = None
    limits: dict[str, str] = field(default_factory=dict)
    """``max.message.bytes`` of topics that accept less than usual for now."""
    events: list[Event] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        """Wait while the supervisor restarts scorers that have ended."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.supervisor.tick()
            time.sleep(min(left, _TICK_SECONDS))

    def wait_until(
        self,
        condition: Callable[[], object],
        seconds: float,
        what: str,
        every: float = 2 * _TICK_SECONDS,
    ) -> None:
        """Let the system run until a condition is true.

        Raises:
            AssertionError: it did not become true in time.
        """
        deadline = time.monotonic() + seconds
        while not _holds(condition):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} not within {seconds:g} s; {self.state()}")
            self.pause(every)

    def limit_of(self, topic: str) -> str:
        """``max.message.bytes`` of a topic while no fault has changed it."""
        return self.limits.get(topic) or wanted_topics(self.topics)[topic][MAX_BYTES]

    @property
    def store(self) -> ArtifactStore:
        """The artifact store, without the proxy."""
        return self.models.store

    def promote(self) -> str:
        """Publish and promote another version, directly in the store and not through the proxy."""
        return self.models.publish(2 + len(self.store.versions()) % 3)

    def a_worker(self) -> ScorerUnderTest:
        """One of the scorers that are ready now, else one that is running."""
        found: list[ScorerUnderTest] = []
        deadline = time.monotonic() + _CATCH_SECONDS
        while not found and time.monotonic() < deadline:
            self.pause(_TICK_SECONDS)
            found = self.supervisor.working()
        return self.rng.choice(found or self.supervisor.running())

    def stop_in_txn(self) -> ScorerUnderTest:
        """SIGSTOP a scorer between publish and commit.

        Raises:
            AssertionError: no scorer was stopped there in time.
        """
        return self.stop_at(self.a_worker, "txn")

    def stop_at(self, choose: Callable[[], ScorerUnderTest], place: str) -> ScorerUnderTest:
        """SIGSTOP a scorer while it is at a place where it waits and leaves a mark.

        Raises:
            AssertionError: no scorer was stopped there in time.
        """
        deadline = time.monotonic() + _CATCH_SECONDS
        while time.monotonic() < deadline:
            scorer = choose()
            scorer.process.send_signal(signal.SIGSTOP)
            # The mark is reliable only once the process has stopped.
            os.waitid(os.P_PID, scorer.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if self.is_at(scorer, place):
                return scorer
            scorer.process.send_signal(signal.SIGCONT)
        raise AssertionError(f"no scorer was stopped in its {place}; {self.state()}")

    def is_at(self, scorer: ScorerUnderTest, place: str) -> bool:
        """Whether a scorer has left the mark of a place."""
        return (self.folder / "marks" / f"{scorer.process.pid}-{place}").exists()

    def state(self) -> str:
        """For error messages: the progress, and the ends of the scorers' logs."""
        latest = self.watch.samples[-1] if self.watch.samples else None
        logs = sorted(self.folder.glob("scorer-*.log"), key=lambda path: path.stat().st_mtime)
        ends = [f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs[-3:]]
        return "\n".join([f"{latest}, exits {self.supervisor.exits[-10:]}", *ends])

    def verify(self) -> tuple[int, dict[str, Any]]:
        """Exit code and report of ``stream-scorer verify --json``, of everything with history."""
        everything = () if self.history is None else ("--recompute", "1", "--sample", "1")
        done = self.command("verify", "--json", *everything)
        assert done.stdout, done.stderr[-2000:]
        return done.returncode, json.loads(done.stdout)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a ``stream-scorer`` command on the topics and the store, which may fail."""
        return subprocess.run(
            [sys.executable, "-m", "stream_scorer", *arguments],
            env=os.environ | self.environment(),
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The environment with which commands find the topics and the store."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "KAFKA_GROUP_ID": self.group_id,
            **{name.upper(): value for name, value in self.topics.model_dump().items()},
            **self.models.environment,
        }

    def settings(self) -> GroupSettings:
        """The settings with which functions of this process find the topics."""
        return GroupSettings(
            **self.broker.settings.model_dump(),
            **self.topics.model_dump(),
            kafka_group_id=self.group_id,
        )


def _holds(condition: Callable[[], object]) -> bool:
    """Whether it is true; a scorer that does not answer any more makes it false."""
    try:
        return bool(condition())
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Models:
    """The artifact store, directly and not through the proxy.

    Attributes:
        objects: what is in it.
        store: its versions.
        histories: its card histories.
        environment: with which commands find it.
        publish: publishes and promotes a version; each number has other trees.
    """

    objects: Objects
    store: ArtifactStore
    histories: HistoryStore
    environment: Mapping[str, str]
    publish: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of a world."""

    transactions: int
    rate: float
    protocol: str = "classic"
    seed: int = 1
    partitions: int = PARTITIONS
    is_exactly_once: bool = True
    batch_records: int = 100
    dwell_seconds: float = 0.02
    is_s3: bool = False
    session_seconds: float = SESSION_SECONDS
    history: HistoryStream | None = None
    """What is sent and promoted instead, if card history is to be tested."""
    starts_stateless: bool = False
    """The first version has no history."""


@contextmanager
def make_world(setup: Setup, folder: Path, broker: EmbeddedBroker) -> Iterator[World]:
    """A world on a running broker, with the feed and watch not yet started."""
    topics = random_topics()
    admin = ClusterAdmin(broker.settings)
    admin.create(wanted_topics(topics), setup.partitions)
    group_id = f"chaos-{uuid.uuid4().hex[:8]}"
    marks = folder / "marks"
    marks.mkdir()
    with ExitStack() as stack:
        # The broker is down on purpose: hundreds of lines would hide the actual problem.
        stack.enter_context(patch.object(logging.getLogger("librdkafka"), "disabled", True))
        models, proxy, place = _open_store(setup, folder, stack)
        if setup.history is None or setup.starts_stateless:
            publish(models.store)
        else:
            models.publish(1)
        environment = {
            **place,
            "MODEL_CACHE_DIR": str(folder / "cache"),
            "KAFKA_GROUP_PROTOCOL": setup.protocol,
            "KAFKA_SESSION_TIMEOUT_MS": str(int(setup.session_seconds * 1000)),
            "KAFKA_TRANSACTION_TIMEOUT_MS": str(int(TXN_SECONDS * 1000)),
            "KAFKA_MAX_POLL_INTERVAL_MS": str(int(MAX_POLL_SECONDS * 1000)),
            "BATCH_MAX_RECORDS": str(setup.batch_records),
            **({DWELL: str(setup.dwell_seconds)} if setup.dwell_seconds else {}),
            MARKS: str(marks),
            CLOCK_FILE: str(folder / "clock"),
            **({} if setup.is_exactly_once else {AT_LEAST_ONCE: "1"}),
            **({} if setup.history is None else _with_history(folder)),
        }
        records = setup.history or CycledRecords(setup.partitions, setup.transactions)
        limits = {} if setup.history is None else {topics.output_topic: str(OUTPUT_BYTES)}
        for topic, limit in limits.items():
            admin.set_config(topic, MAX_BYTES, limit)
        watch = Watch(broker.settings, topics.input_topic, setup.partitions, group_id)
        stack.callback(watch.stop)
        feed = Feed(broker.settings, topics.input_topic, records, setup.rate)
        stack.callback(feed.stop)
        scorers = stack.enter_context(
            fleet(broker.settings, topics, group_id, folder, **environment)
        )
        scorers.program = ("-m", "tests.chaos.scorer")
        yield World(
            broker, admin, topics, group_id, setup.partitions, folder, Supervisor(scorers), feed,
            watch, random.Random(setup.seed), models, proxy, stack, setup.history,
            limits,
        )  # fmt: skip


def _with_history(folder: Path) -> dict[str, str]:
    """Snapshots are written often, and every restore takes long enough to be disturbed."""
    return {
        "HISTORY_CACHE_DIR": str(folder / "history-cache"),
        "HISTORY_SNAPSHOT_SECONDS": str(_SNAPSHOT_SECONDS),
        RESTORE_DWELL: str(_RESTORE_DWELL_SECONDS),
    }


def _open_store(
    setup: Setup, folder: Path, stack: ExitStack
) -> tuple[Models, FaultyProxy | None, dict[str, str]]:
    """The store for the campaign, its proxy, and the environment for the scorers."""
    if not setup.is_s3:
        place = {"MODEL_STORE_URI": (folder / "store").as_uri()}
        return _models(setup, FileObjects(folder / "store"), place), None, place
    from tests.support.s3_server import AtomicS3Server
    from tests.support.stores import s3_place

    credentials = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    stack.enter_context(patch.dict(os.environ, credentials))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it logs each request
    server = AtomicS3Server(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    stack.callback(server.stop)
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket = s3_place(endpoint)
    proxy = stack.enter_context(faulty_proxy(endpoint))
    place = {"MODEL_STORE_URI": bucket.objects.where, "AWS_ENDPOINT_URL_S3": endpoint}
    models = _models(setup, bucket.objects, place)
    return models, proxy, {**place, "AWS_ENDPOINT_URL_S3": proxy.url}


def _models(setup: Setup, objects: Objects, place: Mapping[str, str]) -> Models:
    store = LayoutStore(objects, is_trusted=True)
    histories = HistoryStore(objects, is_trusted=True)
    stream = setup.history

    def make(number: int) -> str:
        if stream is None:
            return publish(store, seed=number)
        return stream.models.publish(store, histories, number)

    return Models(objects, store, histories, place, make)
