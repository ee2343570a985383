"""Optional components on production: their variables are read, and their references exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.support.known_settings import known_names, settings_classes
from tests.k8s.support.rendering import (
    K8S,
    Object,
    all_containers,
    pod_spec,
    render_with,
    select,
    workload,
)

OPTIONS = (
    "strimzi",
    "gateway",
    "workload-identity",
    "private-ca",
    "kafka-client-certificate",
    "signed-models",
    "quality",
    "drift",
    "compare",
    "training-webhook",
)
PRODUCTION = "overlays/production"
FILES = frozenset(
    {
        "AWS_CA_BUNDLE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "DASHBOARD_SEAL_KEY_FILE",
        "DASHBOARD_TOKENS_FILE",
        "KAFKA_CONFIG_FILE",
        "KAFKA_SSL_CA_LOCATION",
        "MODEL_SIGNING_KEY_FILE",
        "SSL_CERT_FILE",
        "TRAINING_WEBHOOK_TOKEN_FILE",
    }
)

each_option = pytest.mark.parametrize("option", ["", *OPTIONS])


def _objects(option: str) -> list[Object]:
    return render_with(PRODUCTION, *filter(None, [option]))


def _environment(objects: list[Object], container: Object) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= select(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}


def _names(value: Any, *keys: str) -> set[str]:
    """The values of ``keys`` at any depth."""
    if isinstance(value, dict):
        own = {value[key] for key in keys if isinstance(value.get(key), str)}
        return own.union(*(_names(below, *keys) for below in value.values()), set())
    if isinstance(value, list):
        return set().union(*(_names(below, *keys) for below in value), set())
    return set()


def _secrets(objects: list[Object]) -> set[str]:
    """Every Secret that a pod, the Ingress or KEDA uses."""
    found: set[str] = set()
    for item in objects:
        for volume in (pod_spec(item) or {}).get("volumes", []):
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            found |= {
                source["secret"].get("secretName") or source["secret"]["name"]
                for source in sources
                if "secret" in source
            }
        for container in all_containers(item):
            refs = [s["secretRef"] for s in container.get("envFrom", []) if "secretRef" in s]
            found |= {ref["name"] for ref in refs}
        if item["kind"] == "TriggerAuthentication":
            found |= {target["name"] for target in item["spec"]["secretTargetRef"]}
        if item["kind"] == "Ingress":
            found |= _names(item["spec"], "secretName")
    return found


@each_option
def test_every_file_named_by_a_variable_is_in_a_mounted_volume(option: str) -> None:
    objects = _objects(option)
    seen = set()
    for item in objects:
        spec = pod_spec(item)
        for container in all_containers(item):
            volumes = {volume["name"] for volume in (spec or {})["volumes"]}
            mounts = {m["mountPath"] for m in container["volumeMounts"] if m["name"] in volumes}
            environment = _environment(objects, container)
            if not container["args"][0].startswith("fraud-dashboard"):
                environment = {k: v for k, v in environment.items() if "DASHBOARD" not in k}
            for name in FILES & environment.keys():
                seen.add(name)
                assert str(Path(environment[name]).parent) in mounts, (container["name"], name)
    assert {"KAFKA_SSL_CA_LOCATION", "DASHBOARD_TOKENS_FILE"} <= seen


@each_option
def test_every_variable_is_read_by_a_process(option: str) -> None:
    objects = _objects(option)
    for item in objects:
        for container in all_containers(item):
            assert set(_environment(objects, container)) <= known_names()


def test_scorer_starts_with_a_client_certificate_and_no_password(tmp_path: Path) -> None:
    objects = _objects("kafka-client-certificate")
    values = select(objects, "ConfigMap", "inference-settings")["data"]
    given: dict[str, Any] = {k.lower(): v for k, v in values.items() if v}
    for name in FILES & values.keys():
        path = tmp_path / name
        path.touch()
        given[name.lower()] = str(path)
    assert given["kafka_security_protocol"] == "SSL"
    for cls in settings_classes().values():
        cls(**{name: value for name, value in given.items() if name in cls.model_fields})


def test_client_certificate_has_the_paths_of_its_properties() -> None:
    objects = _objects("kafka-client-certificate")
    text = select(objects, "ConfigMap", "kafka-client-properties")["data"]["client.properties"]
    named = set(re.findall(r"^ssl\.\S+\.location=(\S+)$", text, re.MULTILINE))
    assert named == {"/etc/kafka-client/tls.crt", "/etc/kafka-client/tls.key"}
    (kafka_trigger,) = select(objects, "ScaledObject", "stream-scorer")["spec"]["triggers"]
    assert "sasl" not in kafka_trigger["metadata"]
    targets = select(objects, "TriggerAuthentication", "kafka")["spec"]["secretTargetRef"]
    assert {target["parameter"] for target in targets} == {"ca", "cert", "key"}


def test_every_secret_is_listed_in_the_production_overlay() -> None:
    text = (K8S / PRODUCTION / "kustomization.yaml").read_text(encoding="utf-8")
    head = [line.split() for line in text.splitlines() if line.startswith("#   ")]
    listed = {words[2] for words in head if words[1] in {"both", "fraud-detection-inference"}}
    assert listed == _secrets(_objects(""))


def test_every_secret_of_the_client_certificate_is_listed() -> None:
    component = K8S / "components/kafka-client-certificate/kustomization.yaml"
    text = component.read_text(encoding="utf-8")
    more = _secrets(_objects("kafka-client-certificate")) - _secrets(_objects(""))
    assert more == {"kafka-client", "kafka-client-dashboard", "kafka-client-keda"}
    assert all(f"`{name}`" in text for name in more)


def test_scorer_dashboard_and_autoscaler_are_three_users() -> None:
    objects = _objects("")
    secrets = {
        name: {
            s["secretRef"]["name"]
            for container in all_containers(workload(objects, name))
            for s in container["envFrom"]
            if "secretRef" in s and s["secretRef"]["name"] != "object-store"
        }
        for name in ("stream-scorer", "fraud-dashboard")
    }
    assert secrets == {"stream-scorer": {"kafka"}, "fraud-dashboard": {"kafka-dashboard"}}
    targets = select(objects, "TriggerAuthentication", "kafka")["spec"]["secretTargetRef"]
    assert {t["name"] for t in targets if t["parameter"] != "ca"} == {"kafka-keda"}


def test_token_for_the_object_store_is_valid_only_for_it() -> None:
    objects = _objects("workload-identity")
    pods = {item["metadata"]["name"]: spec for item in objects if (spec := pod_spec(item))}
    assert len(pods) == 3
    roles = set()
    for spec in pods.values():
        tokens = [
            source["serviceAccountToken"]
            for volume in spec["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        ]
        audiences = [token.get("audience") for token in tokens]
        # The dashboard has one for the Kubernetes API too, to start trainings.
        is_dashboard = spec["serviceAccountName"] == "fraud-dashboard"
        assert audiences == [*[None] * is_dashboard, "sts.amazonaws.com"]
        assert spec["automountServiceAccountToken"] is False
        (container,) = spec["containers"]
        roles.add(_environment(objects, container)["AWS_ROLE_ARN"])
    assert len(roles) == 2  # a scorer cannot publish a model


def test_gateway_replaces_the_ingress_controller_as_the_only_client() -> None:
    objects = _objects("gateway")
    route = select(objects, "HTTPRoute", "fraud-dashboard")["spec"]
    (rule,) = select(objects, "NetworkPolicy", "fraud-dashboard")["spec"]["ingress"]
    let_in = [source["namespaceSelector"]["matchLabels"] for source in rule["from"]]
    (gateway,) = route["parentRefs"]
    assert let_in == [{"kubernetes.io/metadata.name": gateway["namespace"]}]
    assert not [item for item in objects if item["kind"] == "Ingress"]


def test_trainer_signs_and_all_processes_trust_the_same_keys() -> None:
    objects = _objects("signed-models")
    trusted = {"configMapKeyRef": {"name": "model-trusted-keys", "key": "keys"}}
    signing = set()
    for item in objects:
        for container in all_containers(item):
            given = {e["name"]: e.get("valueFrom", e.get("value")) for e in container["env"]}
            assert given["MODEL_TRUSTED_KEYS"] == trusted  # not optional: the pod needs it
            if "MODEL_SIGNING_KEY_FILE" in given:
                signing.add(container["name"])
    assert signing == {"trainer"}
    text = (K8S / "components/signed-models/kustomization.yaml").read_text(encoding="utf-8")
    more = _secrets(objects) - _secrets(_objects(""))
    assert more == {"model-signing-key"}
    assert all(f"`{name}`" in text for name in (*more, "model-trusted-keys"))
