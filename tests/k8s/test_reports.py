"""The nightly reports: what each runs, with which rights, and what it can reach."""

from __future__ import annotations

import argparse
from typing import Any, Final

import pytest

from dashboard.trainings.jobs import make_job
from dashboard.trainings.training import Order, Trigger
from stream_scorer.cli.parsing.parser import build_parser
from tests.k8s.support.rendering import Object, all_containers, pod_spec, render_with, select
from trainer.challenger.compare import run_compare
from trainer.commands.parser import build_parser as build_trainer_parser

PRODUCTION: Final = "overlays/production"
REPORTS: Final = ("quality", "drift", "compare")
ROLES: Final = {
    "training-pipeline": "fraud-training",
    **{f"live-{name}": "fraud-reports" for name in REPORTS},
}
"""CronJob → the role that it takes in the artifact store."""

each_report = pytest.mark.parametrize("report", REPORTS)


def _objects(*more: str) -> list[Object]:
    return render_with(PRODUCTION, *REPORTS, *more)


def _arguments(report: str) -> argparse.Namespace:
    (container,) = all_containers(select(_objects(), "CronJob", f"live-{report}"))
    program, *words = container["args"]
    parser = {"stream-scorer": build_parser, "fraud-trainer": build_trainer_parser}[program]
    return parser().parse_args(words)


def test_commands_are_those_that_the_parsers_accept_and_publish() -> None:
    quality, drift, compare = map(_arguments, REPORTS)
    assert quality.handler == "stream_scorer.cli.quality:run_quality"
    assert (quality.publish, quality.maturity_days) == (True, 14.0)
    assert drift.handler == "stream_scorer.cli.drift.run:run_drift"
    assert (drift.publish, drift.version) == (True, None)
    assert compare.run is run_compare
    # Named versions would have to be changed with each challenger.
    assert (compare.publish, compare.champion, compare.challenger) == (True, None, None)
    # Only scores older than the maturity are mature, so the window is longer.
    assert int(compare.since.removesuffix("d")) > compare.maturity_days


@each_report
def test_runs_every_night_without_overlap_and_ends(report: str) -> None:
    spec = select(_objects(), "CronJob", f"live-{report}")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] <= 3600
    assert {spec[f"{ended}JobsHistoryLimit"] for ended in ("successful", "failed")} == {3}
    minute, hour, *rest = spec["schedule"].split()
    assert minute.isdigit()
    assert hour.isdigit()
    assert rest == ["*", "*", "*"]
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600


def test_no_two_start_at_the_same_time() -> None:
    spec = [select(_objects(), "CronJob", f"live-{name}")["spec"] for name in REPORTS]
    assert len({one["schedule"] for one in spec}) == len(REPORTS)


@each_report
def test_pod_has_no_more_rights_than_it_needs(report: str) -> None:
    objects = _objects()
    job = pod_spec(select(objects, "CronJob", f"live-{report}"))
    scorer = pod_spec(select(objects, "Deployment", "stream-scorer"))
    assert job is not None
    assert scorer is not None
    for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert job[name] == scorer[name]
    own, theirs = job["containers"][0], scorer["containers"][0]
    assert own["securityContext"] == theirs["securityContext"]
    assert own["image"] in {"stream-scorer/scorer", "stream-scorer/trainer"}  # an overlay names its
    # The benchmark of quality needs less than 500 MiB for ten million scores.
    assert own["resources"]["requests"]["memory"] == "512Mi"
    # An identity and a Kafka user of their own: a scorer writes no report, and a report no score.
    account = select(objects, "ServiceAccount", "stream-scorer-reports")["metadata"]
    assert account["namespace"] == "fraud-detection-inference"
    assert job["serviceAccountName"] == account["name"] != scorer["serviceAccountName"]
    secrets = [one["secretRef"]["name"] for one in own["envFrom"] if "secretRef" in one]
    assert secrets[-1] == "kafka-reports"  # the last one counts
    assert "kafka" not in secrets


@each_report
def test_network_policies_open_what_it_needs_and_nothing_else(report: str) -> None:
    objects = _objects()
    job = select(objects, "CronJob", f"live-{report}")["spec"]["jobTemplate"]["spec"]["template"]
    ports = _open_ports(objects, job["metadata"]["labels"], "Egress", "to")
    (container,) = job["spec"]["containers"]
    urls = [e["value"] for e in container["env"] if e["name"] == "PUSHGATEWAY_URL"]
    assert ports == {9092, 9093, 443, *(int(url.rpartition(":")[2]) for url in urls)}
    assert not _open_ports(objects, job["metadata"]["labels"], "Ingress", "from")
    denied = select(objects, "NetworkPolicy", f"live-{report}")["spec"]
    assert denied["policyTypes"] == ["Ingress", "Egress"]


def _open_ports(objects: list[Object], labels: Object, kind: str, side: str) -> set[Any]:
    """The ports that policies open for pods with these labels."""
    ports = set()
    for item in objects:
        if item["kind"] != "NetworkPolicy" or kind not in item["spec"]["policyTypes"]:
            continue
        wanted = item["spec"]["podSelector"].get("matchLabels", {})
        if wanted and wanted.items() <= labels.items():
            for rule in item["spec"].get(kind.lower(), []):
                assert rule[side], "an empty list is everybody"
                ports |= {port["port"] for port in rule["ports"]}
    return ports


def test_alertmanager_may_reach_the_webhook_and_nobody_else_in_its_namespace() -> None:
    before, objects = _objects(), _objects("training-webhook", "training-alerts")
    dashboard = select(objects, "StatefulSet", "fraud-dashboard")["spec"]["template"]
    (rule,) = select(objects, "NetworkPolicy", "alertmanager-fraud-dashboard")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]
    assert peer["podSelector"]["matchLabels"]
    (port,) = rule["ports"]
    (service,) = select(objects, "Service", "fraud-dashboard")["spec"]["ports"]
    assert port["port"] == service["targetPort"]
    named = {one["name"] for one in dashboard["spec"]["containers"][0]["ports"]}
    assert port["port"] in named
    config = select(objects, "AlertmanagerConfig", "fraud-drift")["spec"]
    url = config["receivers"][0]["webhookConfigs"][0]["url"]
    space = dashboard_namespace(objects)
    assert url.startswith(f"http://fraud-dashboard.{space}.svc/")
    assert service["port"] == 80  # the port of that address
    assert not [o for o in before if o["metadata"]["name"] == "alertmanager-fraud-dashboard"]


def dashboard_namespace(objects: list[Object]) -> str:
    return str(select(objects, "StatefulSet", "fraud-dashboard")["metadata"]["namespace"])


@pytest.mark.parametrize("name", ROLES)
def test_every_cronjob_has_a_token_of_its_role_and_trusts_the_same_keys(name: str) -> None:
    objects = _objects(
        "workload-identity", "signed-models", "private-ca", "kafka-client-certificate"
    )
    job = select(objects, "CronJob", name)
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    _check_pod(spec, ROLES[name])
    reads_kafka = name.startswith("live-")
    volumes = {one["name"]: one for one in spec["volumes"]}
    assert ("kafka-client" in volumes) is reads_kafka
    if reads_kafka:
        (secret, _) = volumes["kafka-client"]["projected"]["sources"]
        assert secret == {"secret": {"name": "kafka-client-reports"}}
    signs = "MODEL_SIGNING_KEY_FILE" in {e["name"] for e in spec["containers"][0]["env"]}
    assert signs is (name == "training-pipeline")


def test_training_on_request_has_what_its_cronjob_has() -> None:
    objects = _objects("workload-identity", "signed-models", "private-ca")
    cronjob = select(objects, "CronJob", "training-pipeline")
    cronjob["metadata"]["uid"] = "u"
    job = make_job(cronjob, "one", Order("drift", Trigger.DRIFT, "alertmanager"))
    spec = job["spec"]["template"]["spec"]
    assert spec == cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    _check_pod(spec, "fraud-training")
    assert "model-signing-key" in {volume["name"] for volume in spec["volumes"]}


def _check_pod(spec: Object, role: str) -> None:
    (container,) = spec["containers"]
    given = {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}
    assert len(given) == len(container["env"]), "no variable twice"
    assert given["AWS_ROLE_ARN"].endswith(f":role/{role}")
    keys = {"configMapKeyRef": {"name": "model-trusted-keys", "key": "keys"}}
    assert given["MODEL_TRUSTED_KEYS"] == keys
    assert given["AWS_CA_BUNDLE"] == given["SSL_CERT_FILE"] == "/etc/private-ca/ca.crt"
    (source,) = next(v for v in spec["volumes"] if v["name"] == "aws-token")["projected"]["sources"]
    token = source["serviceAccountToken"]
    assert token["audience"] == "sts.amazonaws.com"
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert given["AWS_WEB_IDENTITY_TOKEN_FILE"] == f"{mounts['aws-token']}/{token['path']}"
    assert spec["automountServiceAccountToken"] is False
