from __future__ import annotations

from pathlib import Path

import pytest

from stream_scorer.kafka.config import read_properties
from stream_scorer.local.broker_log import last_errors
from stream_scorer.local.jvm import kafka_command
from stream_scorer.local.node import Listener, format_data, random_id, write_node


def test_formatted_data_has_ids_and_the_bootstrap_checkpoint(tmp_path: Path) -> None:
    cluster_id = format_data(tmp_path)

    meta = read_properties(tmp_path / "meta.properties")
    assert meta["version"] == "1"
    assert meta["cluster.id"] == cluster_id
    assert meta["directory.id"] != cluster_id
    checkpoint = (tmp_path / "bootstrap.checkpoint").read_bytes()
    assert len(checkpoint) == 355
    assert b"group.version" in checkpoint


def test_formatting_again_keeps_the_ids(tmp_path: Path) -> None:
    assert format_data(tmp_path) == format_data(tmp_path)


def test_random_ids_are_22_characters_without_a_leading_dash() -> None:
    ids = {random_id() for _ in range(500)}

    assert len(ids) == 500
    assert {len(text) for text in ids} == {22}
    assert not any(text.startswith("-") for text in ids)


def test_own_properties_win_over_the_nodes(tmp_path: Path) -> None:
    write_node(tmp_path, 20001, 20002, "WARN", {"group.initial.rebalance.delay.ms": "7"})

    written = read_properties(tmp_path / "server.properties")
    assert written["group.initial.rebalance.delay.ms"] == "7"
    assert written["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert written["controller.quorum.voters"] == "1@127.0.0.1:20002"
    assert "rootLogger.level=WARN" in (tmp_path / "log4j2.properties").read_text(encoding="utf-8")


def test_late_heartbeat_fences_no_new_node_and_a_restart_waits_for_two_seconds(
    tmp_path: Path,
) -> None:
    sessions = []
    for _ in range(2):
        write_node(tmp_path, 20001, 20002, "WARN", {})
        written = read_properties(tmp_path / "server.properties")
        sessions.append(int(written["broker.session.timeout.ms"]))
        (tmp_path / "data" / "__cluster_metadata-0").mkdir(exist_ok=True)  # as Kafka does
    assert sessions == [30_000, 2_000]


def test_further_listeners_stand_beside_the_nodes_own(tmp_path: Path) -> None:
    more = [Listener("SASLTLS", "SASL_SSL", 20003), Listener("MTLS", "SSL", 20004)]
    write_node(tmp_path, 20001, 20002, "WARN", {}, more)

    written = read_properties(tmp_path / "server.properties")
    assert written["listeners"].split(",") == [
        "PLAINTEXT://127.0.0.1:20001",
        "CONTROLLER://127.0.0.1:20002",
        "SASLTLS://127.0.0.1:20003",
        "MTLS://127.0.0.1:20004",
    ]
    assert written["listener.security.protocol.map"] == (
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASLTLS:SASL_SSL,MTLS:SSL"
    )


@pytest.mark.parametrize("flag", ["-XX:AOTCache=x", "-XX:TieredStopAtLevel=4"])
def test_own_jvm_flags_come_after_the_defaults(tmp_path: Path, flag: str) -> None:
    command = kafka_command(Path("java"), [Path("a.jar")], tmp_path, 256, [flag])

    assert command.index(flag) > command.index("-XX:TieredStopAtLevel=1")
    assert command.index(flag) < command.index("kafka.Kafka")


def test_last_errors_are_error_lines_and_their_causes() -> None:
    written = """\
2026-01-01T00:00:00,000 INFO starting (kafka.server.KafkaConfig)
2026-01-01T00:00:01,000 ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)
org.apache.kafka.common.KafkaException: Socket server failed to bind
\tat kafka.network.Acceptor.openServerSocket(SocketServer.scala:733)
Caused by: java.net.BindException: Address already in use
\tat java.base/sun.nio.ch.Net.bind0(Native Method)
2026-01-01T00:00:02,000 WARN java.lang.Exception is only mentioned (kafka.Kafka$)
"""
    assert last_errors(written) == [
        "2026-01-01T00:00:01,000 ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)",
        "org.apache.kafka.common.KafkaException: Socket server failed to bind",
        "Caused by: java.net.BindException: Address already in use",
    ]
    assert last_errors(written, limit=1) == [
        "Caused by: java.net.BindException: Address already in use"
    ]
