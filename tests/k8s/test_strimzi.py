"""The Strimzi component has the topics, users, ACLs and address that the processes need."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stream_scorer.process.topics import DEFAULT_PARTITIONS, wanted_topics
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.k8s.support.rendering import K8S, Object, render_with, select, trigger
from tests.support.kafka.secured_kafka import (
    dashboard_rights,
    history_rights,
    operator_rights,
    report_rights,
    scorer_rights,
    shadow_right,
)

API = "kafka.strimzi.io/v1"
GROUP = GroupSettings.model_fields["kafka_group_id"].default
TOPICS = TopicSettings()

CLUSTER = "kafka-cluster"  # the only name
KINDS = {"BROKER": "CLUSTER"}
FLAGS = {
    "--topic": "TOPIC",
    "--group": "GROUP",
    "--transactional-id": "TRANSACTIONAL_ID",
    "--cluster": "CLUSTER",
}

Grant = tuple[str, str, str, str]
"""Resource type, name, pattern type and operation, with the names of Kafka."""


def objects() -> list[Object]:
    return render_with("overlays/production", "strimzi")


def of_kind(kind: str) -> list[Object]:
    return [item for item in objects() if item["kind"] == kind]


def grants_of(user: str) -> set[Grant]:
    spec = select(objects(), "KafkaUser", user)["spec"]
    assert spec["authentication"] == {"type": "scram-sha-512"}
    return {
        (
            _snake(acl["resource"]["type"]),
            acl["resource"].get("name", CLUSTER),
            {"prefix": "PREFIXED"}.get(acl["resource"].get("patternType"), "LITERAL"),
            _snake(operation),
        )
        for acl in spec["authorization"]["acls"]
        for operation in acl["operations"]
    }


def _snake(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).upper()


def as_grant(binding: Any) -> Grant:
    kind, pattern = binding.restype.name, binding.resource_pattern_type.name
    # librdkafka uses BROKER for the number that means CLUSTER in the protocol.
    return KINDS.get(kind, kind), binding.name, pattern, binding.operation.name


WANTED: dict[str, set[Grant]] = {
    # The integration tests show that these are enough, on a real broker with an authorizer.
    "stream-scorer": {
        as_grant(binding)
        for rights in (
            scorer_rights("User:any", TOPICS, GROUP),
            history_rights("User:any", TOPICS),
        )
        for binding in rights.values()
    }
    | {as_grant(shadow_right("User:any", TOPICS))},
    "fraud-dashboard": {as_grant(right) for right in dashboard_rights("User:any", TOPICS, GROUP)},
    "keda": {
        ("TOPIC", TOPICS.input_topic, "LITERAL", "DESCRIBE"),
        ("GROUP", GROUP, "LITERAL", "DESCRIBE"),
    },
    "stream-scorer-operator": {
        as_grant(b) for b in operator_rights("User:any", TOPICS, GROUP).values()
    },
    "stream-scorer-reports": {
        as_grant(binding) for binding in report_rights("User:any", TOPICS).values()
    },
    "transactions-producer": {("TOPIC", TOPICS.input_topic, "LITERAL", "WRITE")},
}


def test_topics_match_the_command_topics_create() -> None:
    found = {item["metadata"]["name"]: item["spec"] for item in of_kind("KafkaTopic")}
    wanted = wanted_topics(TOPICS)
    assert set(found) == set(wanted)
    for name, spec in found.items():
        config = {key: str(value) for key, value in spec["config"].items()}
        assert config.pop("min.insync.replicas") == "2"
        assert config == wanted[name], name
        assert (spec["partitions"], spec["replicas"]) == (DEFAULT_PARTITIONS, 3)
        assert "topicName" not in spec


@pytest.mark.parametrize("user", WANTED)
def test_user_has_exactly_the_permissions_it_needs(user: str) -> None:
    assert grants_of(user) == WANTED[user]


def test_there_is_no_other_user() -> None:
    assert {item["metadata"]["name"] for item in of_kind("KafkaUser")} == set(WANTED)


def test_autoscaler_may_describe_its_topic_and_group() -> None:
    watched = trigger(objects())
    grants = grants_of("keda")
    assert ("TOPIC", watched["topic"], "LITERAL", "DESCRIBE") in grants
    assert ("GROUP", watched["consumerGroup"], "LITERAL", "DESCRIBE") in grants


def test_commands_of_the_readme_grant_the_same_permissions() -> None:
    readme = (K8S / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, set[Grant]] = {}
    for line in (line for line in readme.splitlines() if line.startswith("acls --")):
        words = line.split()
        words = ["--cluster " + CLUSTER if word == "--cluster" else word for word in words]
        pairs = " ".join(words[1:]).split()
        flags: dict[str, list[str]] = {}
        for flag, value in zip(pairs[::2], pairs[1::2], strict=True):
            flags.setdefault(flag, []).append(value)
        user = flags["--allow-principal"][0].removeprefix("User:")
        (pattern,) = flags.get("--resource-pattern-type", ["literal"])
        (flag,) = FLAGS.keys() & flags.keys()
        found.setdefault(user, set()).update(
            (FLAGS[flag], name, pattern.upper(), operation)
            for name in flags[flag]
            for operation in flags["--operation"]
        )
    assert found == WANTED


def test_acknowledged_records_survive_the_loss_of_one_broker() -> None:
    spec = select(objects(), "Kafka", "fraud")["spec"]["kafka"]
    config = spec["config"]
    assert config["transaction.state.log.replication.factor"] == 3
    assert config["transaction.state.log.min.isr"] == config["min.insync.replicas"] == 2
    assert config["offsets.topic.replication.factor"] == config["default.replication.factor"] == 3
    assert config["auto.create.topics.enable"] is False
    assert config["unclean.leader.election.enable"] is False
    assert spec["rack"]["topologyKey"] == "topology.kubernetes.io/zone"
    pools = {tuple(item["spec"]["roles"]): item["spec"] for item in of_kind("KafkaNodePool")}
    assert set(pools) == {("broker",), ("controller",)}
    for pool in pools.values():
        assert pool["replicas"] == 3
        (volume,) = pool["storage"]["volumes"]
        assert volume["deleteClaim"] is False


def test_all_resources_belong_to_one_cluster() -> None:
    found = [item for item in objects() if "strimzi" in item.get("apiVersion", "")]
    assert len(found) == 15
    for item in found:
        assert item["apiVersion"] == API
        assert item["metadata"]["namespace"] == "kafka"
        if item["kind"] != "Kafka":
            assert item["metadata"]["labels"]["strimzi.io/cluster"] == "fraud"


def test_clients_use_the_address_and_authentication_of_the_brokers() -> None:
    everything = objects()
    kafka = select(everything, "Kafka", "fraud")
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    address = f"{kafka['metadata']['name']}-kafka-bootstrap.kafka.svc:{listener['port']}"
    settings = select(everything, "ConfigMap", "inference-settings")["data"]
    assert settings["KAFKA_BOOTSTRAP_SERVERS"] == address
    assert trigger(everything)["bootstrapServers"] == address
    assert listener["tls"] is True
    assert settings["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert settings["KAFKA_SASL_MECHANISM"].lower() == listener["authentication"]["type"]
    for name in ("stream-scorer", "fraud-dashboard"):
        policy = select(everything, "NetworkPolicy", name)["spec"]
        ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
        assert listener["port"] in ports
