"""The folder of a single-node Kafka: writes its settings and formats its data without a JVM."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.kafka.config import read_properties
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES

# The file that StorageTool writes for Kafka 4.1: only feature levels, no ids (metadata.version
# 4.1-IV1, group.version 1, transaction.version 2, eligible.leader.replicas.version 1). Without
# it the broker starts with group.version 0, which refuses KIP-848 consumers.
_BOOTSTRAP_CHECKPOINT: Final = """
AAAAAAAAAAAAAABHAAAAAAIMxsjRACAAAAAAAAABogbiux8AAAGiBuK7H///////////////////AAAAASoAAAAIAAAAAxYA
AAAAAAAAAAAAAAAAAAAAAAAAAQAAALkAAAAAAlzZPjYAAAAAAAMAAAGiBuK7LgAAAaIG4rsu//////////////////8AAAAE
OgAAAAEuAQwAEW1ldGFkYXRhLnZlcnNpb24AGwAAWgAAAgFOAQwAIWVsaWdpYmxlLmxlYWRlci5yZXBsaWNhcy52ZXJzaW9u
AAEAADQAAAQBKAEMAA5ncm91cC52ZXJzaW9uAAEAAEAAAAYBNAEMABR0cmFuc2FjdGlvbi52ZXJzaW9uAAIAAAAAAAAAAAAF
AAAAPwAAAAACFveBIAAgAAAAAAAAAaIG4rsvAAABogbiuy///////////////////wAAAAEaAAAACAAAAAQGAAAAAA==
"""

NODE_PROPERTIES: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    # one node: every internal topic has one replica. One partition instead of 50 makes the first
    # record of the first group five to ten times faster
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "1000",
    # a broker whose heartbeats are late is fenced, even the only one: the metadata has no broker
    # then, and a client of librdkafka that asks for it in that moment may never find one again
    "broker.session.timeout.ms": "30000",
    "broker.heartbeat.interval.ms": "200",
    # a dead producer's open txn is aborted at most this long after its timeout (default 10 s)
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # our topics set their own max.message.bytes; replica fetches must allow as much
    "message.max.bytes": str(OUTPUT_MAX_BYTES),
    "replica.fetch.max.bytes": str(OUTPUT_MAX_BYTES),
    # by default the log cleaner allocates 128 MB of heap at start; this saves 130 MB in total
    "log.cleaner.dedupe.buffer.size": "2097152",
}
"""Settings of a single node for tests and demo; ports and folders are added to them."""

_RESTART_SESSION_MS: Final = "2000"
"""The session timeout of a node that ran before: a restart after kill -9 waits for the old
registration to expire. A busy machine can delay a heartbeat by a second."""

_LOG4J: Final = """\
appender.file.type=File
appender.file.name=file
appender.file.fileName={path}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %m (%c)%n
rootLogger.level={level}
rootLogger.appenderRef.file.ref=file
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """A further address for clients: its name in the settings, its protocol, its port."""

    name: str
    protocol: str
    port: int


def write_node(
    folder: Path,
    port: int,
    controller_port: int,
    log_level: str,
    extra: Mapping[str, str],
    listeners: Sequence[Listener] = (),
) -> str:
    """Write a node's configuration and, the first time, format its data; returns its cluster id.

    ``folder`` then contains ``server.properties``, ``log4j2.properties`` and ``data``.
    ``listeners`` are added to the unsecured listener, which the broker itself uses.
    """
    everyone = (
        Listener("PLAINTEXT", "PLAINTEXT", port),
        Listener("CONTROLLER", "PLAINTEXT", controller_port),
        *listeners,
    )
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    did_run = (data / "__cluster_metadata-0").exists()
    settings = {
        **NODE_PROPERTIES,
        **({"broker.session.timeout.ms": _RESTART_SESSION_MS} if did_run else {}),
        "listeners": ",".join(f"{one.name}://127.0.0.1:{one.port}" for one in everyone),
        "listener.security.protocol.map": ",".join(
            f"{one.name}:{one.protocol}" for one in everyone
        ),
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "log.dirs": str(data),
        **extra,
    }
    _write_properties(folder / "server.properties", settings)
    (folder / "log4j2.properties").write_text(
        _LOG4J.format(path=_escape(str(folder / "broker.log")), level=log_level), encoding="ascii"
    )
    return format_data(data)


def format_data(data: Path) -> str:
    """Format a data folder as StorageTool would, if it is not formatted; returns its cluster id."""
    meta = data / "meta.properties"
    if not meta.exists():
        checkpoint = base64.b64decode(_BOOTSTRAP_CHECKPOINT)
        (data / "bootstrap.checkpoint").write_bytes(checkpoint)
        part = data / "meta.properties.part"
        ids = {"cluster.id": random_id(), "directory.id": random_id()}
        _write_properties(part, {"version": "1", "node.id": "1", **ids})
        part.replace(meta)  # last and atomically: a folder is either formatted or not
    return read_properties(meta)["cluster.id"]


def random_id() -> str:
    """A Kafka UUID: 16 random bytes in URL-safe base64 without padding, no leading dash."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _write_properties(path: Path, settings: Mapping[str, str]) -> None:
    lines = [f"{key}={_escape(value)}" for key, value in settings.items()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _escape(value: str) -> str:
    """A value of a properties file: Java reads it as Latin-1, with other characters as UTF-16."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
