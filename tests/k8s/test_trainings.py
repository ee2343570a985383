"""The dashboard may start trainings in the namespace of training, and nothing else.

``python -m tests.k8s.trainings_on_cluster`` checks the same on a real API server.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dashboard.trainings.config_map import NAME
from dashboard.trainings.jobs import BY, REASON, TRIGGER
from dashboard.trainings.kubernetes_api import CREDENTIALS, KubernetesApi
from dashboard.trainings.kubernetes_runner import KubernetesRunner
from dashboard.trainings.training import Order, Trigger
from tests.k8s.support.known_settings import default_of
from tests.k8s.support.rendering import VARIANTS, Object, all_containers, render, select, workload
from tests.support.trainings.api_server import ApiServer, serve_api

Right = tuple[str, str, str, str]
"""Verb, API group, resource, and the name that it is limited to."""

pytestmark = pytest.mark.parametrize("variant", VARIANTS)


class RecordingServer(ApiServer):
    """Notes which right each request needs."""

    def __init__(self) -> None:
        super().__init__()
        self.needed: set[Right] = set()

    def answer(self, method: str, target: str, token: str, body: bytes) -> tuple[int, bytes]:
        group, resource, name, part = split_path(urlsplit(target).path)
        verb = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(
            method, "get" if name else "list"
        )
        kind = f"{resource}/{part}" if part else resource
        is_named = kind in ("cronjobs", "configmaps")
        self.needed.add((verb, group, kind, name if is_named else ""))
        return super().answer(method, target, token, body)


def split_path(path: str) -> tuple[str, str, str, str]:
    """Group, resource, name and subresource of a path of the API."""
    parts = path.strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    resource, name, part, *_ = [*parts[parts.index("namespaces") + 2 :], "", ""]
    return group, resource, name, part


def test_role_grants_what_the_dashboard_requests_and_nothing_else(
    variant: str, tmp_path: Path
) -> None:
    with serve_api(tmp_path, RecordingServer()) as (api, credentials):
        runner = KubernetesRunner(KubernetesApi(credentials, api.address), "training", "pipeline")
        seen = runner.list()
        first = runner.start(Order("r", Trigger.DRIFT, "ana"), 0, seen)
        api.add_pod(first.id, "log")
        runner.log(first.id)
        with pytest.raises(Exception, match=first.id):
            runner.start(Order("r", Trigger.PERSON, "ana"), 0, seen)
        runner.cancel(first, "ana", 0)
        needed = {
            (verb, group, kind, name.replace("pipeline", "training-pipeline"))
            for verb, group, kind, name in api.needed
        }
    role = select(render(variant), "Role", "trainings")
    granted = {
        (verb, group, resource, name)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
    assert granted == needed


def test_what_is_remembered_is_in_the_config_map_and_applying_it_again_keeps_it(
    variant: str,
) -> None:
    objects = render(variant)
    found = select(objects, "ConfigMap", NAME)
    space = select(objects, "CronJob", "training-pipeline")["metadata"]["namespace"]
    assert found["metadata"]["namespace"] == space
    assert not {"data", "binaryData", "immutable"} & found.keys()


def test_only_the_dashboard_has_rights_and_only_in_the_namespace_of_training(variant: str) -> None:
    objects = [item for item in render(variant) if item["metadata"]["name"] != "keda"]
    kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    found = {(item["kind"], item["metadata"]["name"]) for item in objects if item["kind"] in kinds}
    assert found == {("Role", "trainings"), ("RoleBinding", "trainings")}
    namespace, _, cronjob = str(default_of("TRAINING_CRONJOB")).partition("/")
    select(objects, "CronJob", cronjob)
    for kind in ("Role", "RoleBinding"):
        assert select(objects, kind, "trainings")["metadata"]["namespace"] == namespace
    binding = select(objects, "RoleBinding", "trainings")
    (subject,) = binding["subjects"]
    account = select(objects, "ServiceAccount", subject["name"])
    assert subject["namespace"] == account["metadata"]["namespace"] != namespace
    assert pod_of(objects)["serviceAccountName"] == subject["name"]
    assert binding["roleRef"]["name"] == "trainings"


def test_token_of_the_dashboard_is_where_it_is_read_and_expires(variant: str) -> None:
    objects = render(variant)
    pod = pod_of(objects)
    (container,) = all_containers(workload(objects, "fraud-dashboard"))
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    sources = volumes[mounts[str(CREDENTIALS)]]["projected"]["sources"]
    (token,) = [one["serviceAccountToken"] for one in sources if "serviceAccountToken" in one]
    (ca,) = [one["configMap"] for one in sources if "configMap" in one]
    assert (token["path"], token["expirationSeconds"]) == ("token", 3600)
    assert "audience" not in token  # the API server's
    assert (ca["name"], ca["items"]) == ("kube-root-ca.crt", [{"key": "ca.crt", "path": "ca.crt"}])


def test_pod_of_a_training_reads_what_the_dashboard_writes(variant: str) -> None:
    (container,) = all_containers(select(render(variant), "CronJob", "training-pipeline"))
    paths = {
        entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"]
        for entry in container["env"]
        if "fieldRef" in entry.get("valueFrom", {})
    }
    assert paths == {
        "TRAINING_ID": "metadata.labels['batch.kubernetes.io/job-name']",
        "TRAINING_REASON": f"metadata.annotations['{REASON}']",
        "TRAINING_TRIGGER": f"metadata.annotations['{TRIGGER}']",
        "TRAINING_BY": f"metadata.annotations['{BY}']",
    }


def pod_of(objects: list[Object]) -> Object:
    pod: Object = workload(objects, "fraud-dashboard")["spec"]["template"]["spec"]
    return pod
