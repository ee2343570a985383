"""The nightly run of live quality: what it runs, with which rights, and that it can be reached."""

from __future__ import annotations

from stream_scorer.cli.parsing.parser import build_parser
from tests.k8s.support.rendering import Object, all_containers, pod_spec, render_with, select

PRODUCTION = "overlays/production"


def _objects() -> list[Object]:
    return render_with(PRODUCTION, "quality")


def test_command_is_one_that_the_parser_accepts_and_publishes() -> None:
    (container,) = all_containers(select(_objects(), "CronJob", "live-quality"))
    program, *arguments = container["args"]
    parsed = build_parser().parse_args(arguments)
    assert program == "stream-scorer"
    assert parsed.handler == "stream_scorer.cli.quality:run_quality"
    assert (parsed.publish, parsed.maturity_days) == (True, 14.0)


def test_runs_every_night_without_overlap_and_ends() -> None:
    spec = select(_objects(), "CronJob", "live-quality")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    minute, hour, *rest = spec["schedule"].split()
    assert minute.isdigit()
    assert hour.isdigit()
    assert rest == ["*", "*", "*"]
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600


def test_pod_has_no_more_rights_than_a_scorer() -> None:
    objects = _objects()
    job = pod_spec(select(objects, "CronJob", "live-quality"))
    scorer = pod_spec(select(objects, "Deployment", "stream-scorer"))
    assert job is not None
    assert scorer is not None
    for name in ("securityContext", "serviceAccountName", "automountServiceAccountToken"):
        assert job[name] == scorer[name]
    own, theirs = job["containers"][0], scorer["containers"][0]
    assert own["securityContext"] == theirs["securityContext"]
    assert own["image"] == "stream-scorer/scorer"  # an overlay names its own
    # The benchmark needs less than 500 MiB for ten million scores.
    assert own["resources"]["requests"]["memory"] == "512Mi"


def test_network_policies_select_the_pod_and_open_kafka_store_and_pushgateway() -> None:
    objects = _objects()
    job = select(objects, "CronJob", "live-quality")["spec"]["jobTemplate"]["spec"]["template"]
    labels = job["metadata"]["labels"]
    ports = set()
    for item in objects:
        if item["kind"] != "NetworkPolicy":
            continue
        wanted = item["spec"]["podSelector"].get("matchLabels", {})
        if wanted and wanted.items() <= labels.items():
            ports |= {p["port"] for rule in item["spec"]["egress"] for p in rule["ports"]}
    (container,) = job["spec"]["containers"]
    url = next(e["value"] for e in container["env"] if e["name"] == "PUSHGATEWAY_URL")
    assert {9092, 9093, 443, int(url.rpartition(":")[2])} == ports
