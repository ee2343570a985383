"""What can be reached from outside the cluster, and what stays internal."""

from __future__ import annotations

import ipaddress
import re

import pytest
from fastapi import APIRouter

from dashboard.web import api, login, predict
from dashboard.web.admin import model_api, model_page, operations, probes, reference
from dashboard.web.cases import export, records, routes
from dashboard.web.detail import pages as detail_pages
from dashboard.web.explaining import check
from dashboard.web.queue import page as queue_page
from dashboard.web.threshold import routes as threshold
from tests.k8s.support.rendering import (
    K8S,
    VARIANTS,
    Object,
    all_containers,
    read_env,
    render,
    render_with,
    select,
    workload,
)

each_variant = pytest.mark.parametrize("variant", VARIANTS)
PUBLIC = (
    api.router,
    login.router,
    model_api.router,
    model_page.router,
    operations.router,
    queue_page.router,
    detail_pages.router,
    check.router,
    export.router,
    records.router,
    routes.router,
    threshold.router,
    predict.router,
    reference.router,
)
EXTRA = {"/static/app.css", "/openapi.json"}  # not on a router


def _paths(*routers: APIRouter) -> set[str]:
    found = {str(vars(route)["path"]) for router in routers for route in router.routes}
    return {re.sub(r"{[^}]+}", "1", path) for path in found}


def _ingress_paths(objects: list[Object]) -> set[tuple[str, str]]:
    (rule,) = select(objects, "Ingress", "fraud-dashboard")["spec"]["rules"]
    return {(path["pathType"], path["path"]) for path in rule["http"]["paths"]}


def _reaches(paths: set[tuple[str, str]], requested: str) -> bool:
    return any(
        requested == path or (kind == "Prefix" and requested.startswith(path.rstrip("/") + "/"))
        for kind, path in paths
    )


@each_variant
def test_every_page_and_public_call_is_reachable(variant: str) -> None:
    paths = _ingress_paths(render(variant))
    wanted = _paths(*PUBLIC) | EXTRA
    assert len(wanted) > 8
    assert {path for path in wanted if not _reaches(paths, path)} == set()


@each_variant
def test_unauthenticated_probes_and_metrics_stay_internal(variant: str) -> None:
    paths = _ingress_paths(render(variant))
    inside = _paths(probes.router)
    assert {"/livez", "/readyz", "/health", "/metrics"} <= inside
    assert {path for path in inside if _reaches(paths, path)} == set()
    assert not _reaches(paths, "/docs")


@each_variant
def test_ingress_routes_to_the_service_of_the_dashboard(variant: str) -> None:
    objects = render(variant)
    (rule,) = select(objects, "Ingress", "fraud-dashboard")["spec"]["rules"]
    for path in rule["http"]["paths"]:
        backend = path["backend"]["service"]
        service = select(objects, "Service", backend["name"])
        (port,) = service["spec"]["ports"]
        assert port["name"] == backend["port"]["name"]
        (container,) = all_containers(workload(objects, "fraud-dashboard"))
        assert port["targetPort"] in {entry["name"] for entry in container["ports"]}


@each_variant
def test_only_production_names_an_ingress_controller(variant: str) -> None:
    ingress = select(render(variant), "Ingress", "fraud-dashboard")
    assert "annotations" not in ingress["metadata"]
    assert ("ingressClassName" in ingress["spec"]) == (variant == "overlays/production")


def test_gateway_route_replaces_the_ingress_with_the_same_paths() -> None:
    before = render("overlays/production")
    (rule,) = select(before, "Ingress", "fraud-dashboard")["spec"]["rules"]
    after = render_with("overlays/production", "gateway")
    assert not [item for item in after if item["kind"] == "Ingress"]
    route = select(after, "HTTPRoute", "fraud-dashboard")["spec"]
    assert route["hostnames"] == [rule["host"]]
    (only,) = route["rules"]
    kinds = {"PathPrefix": "Prefix", "Exact": "Exact"}
    matches = {(kinds[m["path"]["type"]], m["path"]["value"]) for m in only["matches"]}
    assert matches == _ingress_paths(before)
    (backend,) = only["backendRefs"]
    (port,) = select(after, "Service", backend["name"])["spec"]["ports"]
    assert port["port"] == backend["port"]


def test_client_addresses_are_trusted_only_from_the_network_of_the_pods() -> None:
    settings = read_env(K8S / "overlays/production/inference.env")
    (network,) = settings["DASHBOARD_PROXY_ADDRESSES"].split(",")
    assert ipaddress.ip_network(network).prefixlen >= 16
    # Only the ingress controller can connect.
    policy = select(render("overlays/production"), "NetworkPolicy", "fraud-dashboard")["spec"]
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert set(peer["namespaceSelector"]["matchLabels"]) == {"kubernetes.io/metadata.name"}


@each_variant
def test_replicas_sign_sessions_with_one_key(variant: str) -> None:
    """Otherwise a session of one replica would not be valid at another."""
    objects = render(variant)
    settings = select(objects, "ConfigMap", "inference-settings")["data"]
    item = workload(objects, "fraud-dashboard")
    spec = item["spec"]["template"]["spec"]
    (mount,) = [
        mount["name"]
        for container in all_containers(item)
        for mount in container["volumeMounts"]
        if settings["DASHBOARD_SEAL_KEY_FILE"].startswith(mount["mountPath"] + "/")
    ]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == mount]
    secrets = {source["secret"]["name"] for source in volume["projected"]["sources"]}
    assert secrets == {"dashboard-tokens", "dashboard-seal"}


def test_only_prometheus_reaches_metrics_and_only_with_its_component() -> None:
    base = render("base")
    assert "ingress" not in select(base, "NetworkPolicy", "stream-scorer")["spec"]
    objects = render("overlays/production")
    for name, port in (("stream-scorer", "metrics"), ("fraud-dashboard", "http")):
        spec = select(objects, "NetworkPolicy", f"prometheus-{name}")["spec"]
        assert spec["policyTypes"] == ["Ingress"]
        (rule,) = spec["ingress"]
        assert rule["ports"] == [{"port": port, "protocol": "TCP"}]
        (container,) = all_containers(workload(objects, name))
        assert port in {entry["name"] for entry in container["ports"]}


def test_trainer_can_reach_the_configured_pushgateway() -> None:
    objects = render("overlays/production")
    url = select(objects, "ConfigMap", "training-settings")["data"]["PUSHGATEWAY_URL"]
    found = re.fullmatch(r"http://[a-z-]+\.(?P<space>[a-z]+)\.svc:(?P<port>\d+)", url)
    assert found
    spec = select(objects, "NetworkPolicy", "pushgateway")["spec"]
    (rule,) = spec["egress"]
    (peer,) = rule["to"]
    space = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert (space, rule["ports"][0]["port"]) == (found["space"], int(found["port"]))
