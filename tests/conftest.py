"""Fixtures of every tier. ``--kafka`` chooses the broker; each test has topics of its own."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol

import pytest
from hypothesis import HealthCheck, settings

from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.openmp import load_openmp
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from tests.support.kafka.kafka_under_test import KINDS, KafkaUnderTest, open_kafka
from tests.support.names import random_topics
from tests.support.tiers import TierTimes

_STARTING_SCORERS: Final = ("browser", "e2e", "integration")  # folders of such tests
_COMPILING_LOCK: Final = Path(tempfile.gettempdir(), f"stream-scorer-tests-{os.getuid()}.lock")
_COMPILING_SECONDS: Final = 900.0  # a minute is usual, where nothing was compiled yet

# Otherwise as Hypothesis would: with examples that are always the same in CI.
settings.register_profile(
    "any-machine",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any-machine")


class StartBroker(Protocol):
    """Starts a broker of the test's own; it is stopped after the test."""

    def __call__(
        self,
        folder: Path | None = None,
        *,
        port: int = 0,
        properties: Mapping[str, str] | None = None,
    ) -> EmbeddedBroker: ...


class MakeTopics(Protocol):
    """Creates randomly named topics; on the shared Kafka unless told otherwise."""

    def __call__(
        self, partitions: int = 1, settings: KafkaSettings | None = None
    ) -> TopicSettings: ...


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # while modules are imported and tests collected, which are garbage much later
    config.pluginmanager.register(TierTimes())
    load_openmp()  # tests import LightGBM themselves


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        choices=KINDS,
        default="embedded",
        help="the broker of the tests: embedded (default), env (KAFKA_BOOTSTRAP_SERVERS and the "
        "other KAFKA_ variables), or testcontainers (needs Docker)",
    )


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is in ``browser/`` needs Chromium, without each file having to say so."""
    folder = Path(__file__).with_name("browser")
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exclude what was imported from garbage collections, and compile the loops once.

    Modules and tests live until the end, and every full collection would visit them all.

    The loops are compiled only where a scorer will be started. On a new machine that takes longer
    than a scorer may hang, or a test wait; and several that start at once would each do it.
    """
    gc.freeze()
    gc.enable()
    folders = {Path(__file__).with_name(name) for name in _STARTING_SCORERS}
    if session.config.getoption("--collect-only") or not any(
        item.get_closest_marker("prometheus") or not folders.isdisjoint(item.path.parents)
        for item in session.items
    ):
        return
    command = [sys.executable, "-m", "stream_scorer", "warm"]
    with _COMPILING_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of processes that run tests side by side, one compiles
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMPILING_SECONDS, check=False
        )
    if done.returncode:
        pytest.exit(f"{' '.join(command[1:])} failed:\n{done.stderr}", 1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in what a test printed: one process sends it to another as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode("utf-8"))
        for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def root_logger_as_found() -> Iterator[None]:
    """Commands configure logging for their process; here that must not reach the next test."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)  # a fixture of the whole module may have run a command
    handlers = list(root.handlers)
    yield
    for handler in root.handlers:
        if handler not in handlers:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def kafka_kind(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--kafka"))


@pytest.fixture(scope="session")
def kafka(kafka_kind: str) -> Iterator[KafkaUnderTest]:
    """The Kafka all tests share; never stop it, see ``own_broker``."""
    with open_kafka(kafka_kind) as kafka:
        yield kafka


@pytest.fixture
def own_broker(kafka_kind: str) -> Iterator[StartBroker]:
    """Starts embedded brokers that the test may kill and restart."""
    if kafka_kind != "embedded":
        pytest.skip("kills and restarts its broker: only with --kafka embedded")
    with ExitStack() as stack:

        def start(
            folder: Path | None = None,
            *,
            port: int = 0,
            properties: Mapping[str, str] | None = None,
        ) -> EmbeddedBroker:
            broker = EmbeddedBroker(folder, port=port, properties=properties)
            return stack.enter_context(broker)

        yield start


@pytest.fixture
def topics(request: pytest.FixtureRequest, kafka_kind: str) -> Iterator[MakeTopics]:
    """``topics(12)`` creates input, output, dead letter and labels topic with random names."""
    made: list[tuple[KafkaSettings, list[str]]] = []

    def make(partitions: int = 1, settings: KafkaSettings | None = None) -> TopicSettings:
        if settings is None:  # only now: a test with its own broker does not start the shared one
            settings = request.getfixturevalue("kafka").settings
        topics = random_topics()
        wanted = wanted_topics(topics)
        admin = open_admin(settings)
        create_topics(admin, wanted, partitions, -1)  # the broker's own replication factor
        made.append((settings, list(wanted)))
        return topics

    yield make
    if kafka_kind == "env":  # somebody else's Kafka is left as it was found
        for settings, names in made:
            admin = open_admin(settings)
            for future in admin.delete_topics(names).values():
                future.result(30)


@pytest.fixture
def group_id() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    from tests.support.s3_server import AtomicS3Server  # only tests of the store pay for its import

    server = AtomicS3Server(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_endpoint(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of an S3 API; credentials for it are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3_server
