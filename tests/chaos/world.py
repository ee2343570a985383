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
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import TopicSettings
from tests.chaos.cluster_admin import AUTHORIZING, ClusterAdmin
from tests.chaos.faulty_proxy import FaultyProxy, faulty_proxy
from tests.chaos.feed import Feed
from tests.chaos.scorer import AT_LEAST_ONCE, CLOCK_FILE, DWELL, MARKS
from tests.chaos.supervisor import Supervisor
from tests.chaos.watch import Watch
from tests.support.factories import publish
from tests.support.names import random_topics
from tests.support.processes import ScorerUnderTest, fleet

SESSION_SECONDS: Final = 8.0
TXN_SECONDS: Final = 2.0  # less than a session, so that each can time out without the other
_TICK_SECONDS: Final = 0.05
_CATCH_SECONDS: Final = 90.0  # usually a second, longer on a slow machine
_VERIFY_SECONDS: Final = 600.0

BROKER: Final[Mapping[str, str]] = {
    **AUTHORIZING,
    "group.consumer.session.timeout.ms": str(int(SESSION_SECONDS * 1000)),
    "group.consumer.heartbeat.interval.ms": "500",
}


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
    store: ArtifactStore
    proxy: FaultyProxy | None
    stack: ExitStack
    events: list[Event] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        """Wait while the supervisor restarts scorers that have ended."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.supervisor.tick()
            time.sleep(min(left, _TICK_SECONDS))

    def wait_until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Let the system run until a condition is true.

        Raises:
            AssertionError: it did not become true in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} not within {seconds:g} s; {self.state()}")
            self.pause(2 * _TICK_SECONDS)

    def promote(self) -> str:
        """Publish and promote another version, directly in the store and not through the proxy."""
        return publish(self.store, seed=2 + len(self.store.versions()) % 3)

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
        deadline = time.monotonic() + _CATCH_SECONDS
        while time.monotonic() < deadline:
            scorer = self.a_worker()
            scorer.process.send_signal(signal.SIGSTOP)
            # The mark is reliable only once the process has stopped.
            os.waitid(os.P_PID, scorer.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if (self.folder / "marks" / str(scorer.process.pid)).exists():
                return scorer
            scorer.process.send_signal(signal.SIGCONT)
        raise AssertionError(f"no scorer was stopped in a transaction; {self.state()}")

    def state(self) -> str:
        """For error messages: the progress, and the ends of the scorers' logs."""
        latest = self.watch.samples[-1] if self.watch.samples else None
        logs = sorted(self.folder.glob("scorer-*.log"), key=lambda path: path.stat().st_mtime)
        ends = [f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs[-3:]]
        return "\n".join([f"{latest}, exits {self.supervisor.exits[-10:]}", *ends])

    def verify(self) -> tuple[int, dict[str, Any]]:
        """Exit code and report of ``stream-scorer verify --json``."""
        done = subprocess.run(
            [sys.executable, "-m", "stream_scorer", "verify", "--json"],
            env=os.environ | self.environment(),
            capture_output=True,
            timeout=_VERIFY_SECONDS,
            check=False,
        )
        assert done.stdout, done.stderr.decode()[-2000:]
        return done.returncode, json.loads(done.stdout)

    def environment(self) -> dict[str, str]:
        """The environment with which commands find the topics."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "KAFKA_GROUP_ID": self.group_id,
            **{name.upper(): value for name, value in self.topics.model_dump().items()},
        }


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of a world."""

    transactions: int
    rate: float
    protocol: str = "classic"
    seed: int = 1
    partitions: int = 6
    is_exactly_once: bool = True
    batch_records: int = 100
    dwell_seconds: float = 0.02
    is_s3: bool = False
    session_seconds: float = SESSION_SECONDS


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
        store, proxy, place = _open_store(setup, folder, stack)
        publish(store)
        environment = {
            **place,
            "MODEL_CACHE_DIR": str(folder / "cache"),
            "KAFKA_GROUP_PROTOCOL": setup.protocol,
            "KAFKA_SESSION_TIMEOUT_MS": str(int(setup.session_seconds * 1000)),
            "KAFKA_TRANSACTION_TIMEOUT_MS": str(int(TXN_SECONDS * 1000)),
            "BATCH_MAX_RECORDS": str(setup.batch_records),
            **({DWELL: str(setup.dwell_seconds)} if setup.dwell_seconds else {}),
            MARKS: str(marks),
            CLOCK_FILE: str(folder / "clock"),
            **({} if setup.is_exactly_once else {AT_LEAST_ONCE: "1"}),
        }
        watch = Watch(broker.settings, topics.input_topic, setup.partitions, group_id)
        stack.callback(watch.stop)
        feed = Feed(
            broker.settings, topics.input_topic, setup.partitions, setup.transactions, setup.rate
        )
        stack.callback(feed.stop)
        scorers = stack.enter_context(
            fleet(broker.settings, topics, group_id, folder, **environment)
        )
        scorers.program = ("-m", "tests.chaos.scorer")
        yield World(
            broker, admin, topics, group_id, setup.partitions, folder,
            Supervisor(scorers), feed, watch, random.Random(setup.seed), store, proxy, stack,
        )  # fmt: skip


def _open_store(
    setup: Setup, folder: Path, stack: ExitStack
) -> tuple[ArtifactStore, FaultyProxy | None, dict[str, str]]:
    """The store for the campaign, its proxy, and the environment for the scorers."""
    if not setup.is_s3:
        return FileStore(folder / "store"), None, {}
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
    place = s3_place(f"http://{host}:{port}")
    proxy = stack.enter_context(faulty_proxy(f"http://{host}:{port}"))
    uri = place.objects.where
    return place.open(), proxy, {"MODEL_STORE_URI": uri, "AWS_ENDPOINT_URL_S3": proxy.url}
