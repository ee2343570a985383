"""The processes read what the manifests set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.k8s.support.known_settings import default_of, known_names, settings_classes
from tests.k8s.support.rendering import VARIANTS, Object, all_containers, render, select, trigger

pytestmark = pytest.mark.parametrize("variant", VARIANTS)

# Containers with settings of Kafka or S3, not ours.
OTHERS = {"kafka", "s3", "bucket"}


def _variables(objects: list[Object]) -> set[str]:
    names: set[str] = set()
    for item in objects:
        if item["metadata"]["name"] in {"inference-settings", "training-settings"}:
            names |= set(item["data"])
        for container in all_containers(item):
            if container["name"] not in OTHERS:
                names |= {entry["name"] for entry in container.get("env", [])}
    return names


def test_every_variable_is_read_by_a_process(variant: str) -> None:
    used = _variables(render(variant))
    assert {"KAFKA_BOOTSTRAP_SERVERS", "OMP_NUM_THREADS"} <= used
    assert used - known_names() == set()


def test_every_process_accepts_its_settings(variant: str, tmp_path: Path) -> None:
    objects = render(variant)
    ca = tmp_path / "ca.crt"
    ca.touch()
    for config_map in ("inference-settings", "training-settings"):
        values = {k.lower(): v for k, v in select(objects, "ConfigMap", config_map)["data"].items()}
        secrets = {"kafka_sasl_username": "scorer", "kafka_sasl_password": "secret"}
        if "kafka_ssl_ca_location" in values:
            values["kafka_ssl_ca_location"] = str(ca)
        for cls in settings_classes().values():
            overrides = {k: v for k, v in (values | secrets).items() if k in cls.model_fields}
            cls(**overrides)


def test_topics_group_and_ports_are_the_default_ones(variant: str) -> None:
    settings = select(render(variant), "ConfigMap", "inference-settings")["data"]
    for name in ("INPUT_TOPIC", "OUTPUT_TOPIC", "DLQ_TOPIC", "LABELS_TOPIC",
                 "AUDIT_TOPIC", "SHADOW_TOPIC", "KAFKA_GROUP_ID"):  # fmt: skip
        assert settings[name] == default_of(name), name
    for name in ("METRICS_PORT", "DASHBOARD_PORT"):
        assert int(settings[name]) == default_of(name), name


def test_autoscaler_watches_the_group_the_scorer_joins(variant: str) -> None:
    objects = render(variant)
    settings = select(objects, "ConfigMap", "inference-settings")["data"]
    watched = trigger(objects)
    assert watched["bootstrapServers"] == settings["KAFKA_BOOTSTRAP_SERVERS"]
    assert watched["topic"] == settings["INPUT_TOPIC"]
    assert watched["consumerGroup"] == settings["KAFKA_GROUP_ID"]


def test_autoscaler_connects_to_kafka_like_the_scorer(variant: str) -> None:
    objects = render(variant)
    settings = select(objects, "ConfigMap", "inference-settings")["data"]
    watched = trigger(objects)
    protocol = settings.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    mechanism = settings.get("KAFKA_SASL_MECHANISM", "none")
    assert (watched.get("tls", "disable") == "enable") == protocol.endswith("SSL")
    assert watched.get("sasl", "none") == {"SCRAM-SHA-512": "scram_sha512"}.get(
        mechanism, mechanism
    )


def test_trainer_and_scorers_use_the_same_store(variant: str) -> None:
    objects = render(variant)
    trainer, scorer = (
        select(objects, "ConfigMap", name)["data"]
        for name in ("training-settings", "inference-settings")
    )
    for name in ("MODEL_STORE_URI", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        assert trainer.get(name) == scorer.get(name), name
