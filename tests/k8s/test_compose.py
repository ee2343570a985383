"""compose.yaml is hardened, listens on loopback, and works with and without its profiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.process.topics import DEFAULT_PARTITIONS
from tests.k8s.support.known_settings import default_of, known_names
from tests.k8s.support.rendering import OURS, ROOT, load, read_env

SHIPPED = read_env(ROOT / ".env")
CONFIGURED_IN_PLACE = {"kafka"}
"""Images that are not read-only, because their entry points write the configuration."""


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = load(ROOT / "compose.yaml")["services"]
    return services


def _own_port(service: dict[str, Any]) -> int:
    (port,) = service["ports"]
    return int(port.rsplit(":", 1)[1])


def _health_check_ports(service: dict[str, Any]) -> set[int]:
    """The ports that its health check requests."""
    text = " ".join(service["healthcheck"]["test"])
    return {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)/", text)}


def _binds(service: dict[str, Any]) -> dict[str, Path]:
    """Our files, by their path in the container."""
    pairs = (v.split(":") for v in service.get("volumes", []) if v.startswith("."))
    found: dict[str, Path] = {}
    for source, target, mode in pairs:
        assert mode == "ro", source
        found[target] = ROOT / source
    return found


OUR_SERVICES = sorted(n for n, s in _services().items() if s["image"].startswith(OURS))


def test_all_variables_have_a_default_in_the_shipped_env() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)\}", text))
    assert used == set(SHIPPED) - {"COMPOSE_PROFILES"}


def test_every_shipped_variable_is_explained_above_it() -> None:
    explained = False
    for line in (ROOT / ".env").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            explained = True
        elif line:
            assert explained, line
        else:
            explained = False


def test_defaults_use_nothing_that_only_a_profile_starts() -> None:
    assert SHIPPED["COMPOSE_PROFILES"] == "dev"
    for name in ("SCHEMA_REGISTRY_URL", "PUSHGATEWAY_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        assert SHIPPED[name] == "", name


def test_profiles_are_the_documented_ones() -> None:
    by_profile: dict[str, set[str]] = {}
    for name, service in _services().items():
        for profile in service.get("profiles", []):
            by_profile.setdefault(profile, set()).add(name)
    assert by_profile == {
        "dev": {"s3"},
        "demo": {"producer"},
        "training": {"train"},
        "registry": {"registry"},
        "observability": {"prometheus", "pushgateway", "grafana"},
    }
    text = (ROOT / ".env").read_text(encoding="utf-8")
    assert set(re.findall(r"^#   (\w+) ", text, re.MULTILINE)) == set(by_profile)


@pytest.mark.parametrize(
    ("variable", "profile"),
    [("SCHEMA_REGISTRY_URL", "registry"), ("PUSHGATEWAY_URL", "pushgateway")],
)
def test_addresses_in_env_comments_match_the_services(variable: str, profile: str) -> None:
    text = (ROOT / ".env").read_text(encoding="utf-8")
    comment = text.split(f"\n{variable}=")[0].rsplit("\n\n", 1)[1]
    (address,) = re.findall(r"http://([a-z0-9]+:\d+)", comment)
    host, port = address.split(":")
    assert host == profile
    assert _health_check_ports(_services()[host]) == {int(port)}


def test_our_images_are_built_here_and_others_are_pinned() -> None:
    assert len(OUR_SERVICES) >= 5
    for name, service in _services().items():
        if name in OUR_SERVICES:
            target = service["image"].removeprefix(OURS).split(":")[0]
            assert service["build"] == {
                "context": ".",
                "target": target,
                "args": {"VERSION": "${STREAM_SCORER_VERSION}"},
            }
        else:
            assert re.fullmatch(r"[a-z./-]+:v?\d+\.\d+\.\d+", service["image"]), name


@pytest.mark.parametrize("name", sorted(_services()))
def test_containers_are_read_only_without_privileges(name: str) -> None:
    service = _services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if name not in CONFIGURED_IN_PLACE:
        assert service["read_only"] is True
        assert service["tmpfs"]


@pytest.mark.parametrize("name", sorted(_services()))
def test_permanent_services_have_a_health_check_and_others_end(name: str) -> None:
    service = _services()[name]
    if service.get("restart") == "unless-stopped" and name != "producer":
        assert service["healthcheck"]["retries"] > 0
    elif name != "producer":
        assert service.get("restart", "no").startswith(("no", "on-failure"))


def test_data_is_in_named_volumes_and_our_files_are_read_only() -> None:
    named = set(load(ROOT / "compose.yaml")["volumes"])
    used = set()
    for name, service in _services().items():
        for volume in service.get("volumes", []):
            source, *rest = volume.split(":")
            if source.startswith("./"):
                assert rest[-1] == "ro", f"{name}: {volume}"
            elif rest:
                used.add(source)
            else:  # anonymous: one for each replica
                assert source.startswith("/var/lib/stream-scorer"), f"{name}: {volume}"
    assert used == named


@pytest.mark.parametrize("name", OUR_SERVICES)
def test_every_variable_is_one_that_a_process_reads(name: str) -> None:
    own = {"TRAINING_ROWS", "DEMO_RATE"}  # used by the shell command of the service
    assert set(_services()[name]["environment"]) - known_names() - own == set()


def test_every_port_is_published_on_loopback_only() -> None:
    ports = [port for service in _services().values() for port in service.get("ports", [])]
    assert len(ports) == 7
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z0-9]+_PORTS?\}:\d+", port), port


def test_published_ports_are_unique_and_there_is_one_for_each_scorer() -> None:
    taken = [int(v) for name, v in SHIPPED.items() if name.endswith("_PORT")]
    first, last = map(int, SHIPPED["METRICS_PORTS"].split("-"))
    assert last - first >= 2
    assert len({*taken, *range(first, last + 1)}) == len(taken) + last - first + 1
    assert all("container_name" not in service for service in _services().values())


def test_listening_ports_are_the_default_ones() -> None:
    services = _services()
    for name, variable in (("scorer", "METRICS_PORT"), ("dashboard", "DASHBOARD_PORT")):
        assert _own_port(services[name]) == default_of(variable)
        assert f":{default_of(variable)}/readyz" in services[name]["healthcheck"]["test"][-1]


def test_no_service_depends_on_a_service_of_a_profile() -> None:
    services = _services()
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            assert "profiles" not in services[other], f"{name} depends on {other}"


def test_dashboard_requires_a_token() -> None:
    file = load(ROOT / "compose.yaml")["secrets"]["dashboard-tokens"]["file"]
    assert (ROOT / file).is_file()
    environment = _services()["dashboard"]["environment"]
    assert environment["DASHBOARD_AUTH"] == "token"
    assert environment["DASHBOARD_TOKENS_FILE"] == "/run/secrets/dashboard-tokens"


def test_partition_count_is_the_default() -> None:
    assert int(SHIPPED["PARTITIONS"]) == DEFAULT_PARTITIONS


def test_every_service_that_reads_or_writes_records_can_use_the_registry() -> None:
    services = _services()
    for name in ("scorer", "dashboard", "producer"):
        assert services[name]["environment"]["SCHEMA_REGISTRY_URL"] == "${SCHEMA_REGISTRY_URL}"
    registry = services["registry"]["environment"]
    assert (
        registry["KARAPACE_BOOTSTRAP_URI"]
        == services["scorer"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
    )
    assert registry["KARAPACE_PORT"] == _own_port(services["registry"])


def test_training_by_hand_waits_for_the_first_and_accepts_own_data() -> None:
    train = _services()["train"]
    assert set(train["depends_on"]) == {"first-training"}
    for name in ("TRAIN_TRANSACTIONS_URI", "TRAIN_IDENTITY_URI"):
        assert train["environment"][name] == f"${{{name}}}"
        assert SHIPPED[name] == ""
    assert "--synthetic" in train["command"][-1]


def test_prometheus_finds_its_configuration_and_scrapes_what_compose_runs() -> None:
    services = _services()
    prometheus = services["prometheus"]
    files = _binds(prometheus)
    assert "--config.file=/etc/prometheus/prometheus.yml" in prometheus["command"]
    config = load(files["/etc/prometheus/prometheus.yml"])
    for name in config["rule_files"]:
        assert load(files[f"/etc/prometheus/{name}"])["groups"]
    for job in config["scrape_configs"]:
        for found in job.get("dns_sd_configs", []):
            (host,) = found["names"]
            assert _own_port(services[host]) == found["port"]
        for static in job.get("static_configs", []):
            for target in static["targets"]:
                host, port = target.split(":")
                assert _health_check_ports(services[host]) == {int(port)}


def test_grafana_finds_prometheus_and_the_boards() -> None:
    services = _services()
    files = _binds(services["grafana"])
    (source,) = load(files["/etc/grafana/provisioning/datasources"] / "prometheus.yml")[
        "datasources"
    ]
    assert source["url"] == f"http://prometheus:{_own_port(services['prometheus'])}"
    (provider,) = load(files["/etc/grafana/provisioning/dashboards"] / "fraud.yml")["providers"]
    boards = files[provider["options"]["path"]]
    assert sorted(path.name for path in boards.iterdir()) == [
        "fraud-model.json",
        "fraud-service.json",
        "fraud-training.json",
    ]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (boards / Path(home).name).is_file()
    assert Path(home).parent == Path(provider["options"]["path"])


@pytest.mark.parametrize("name", ["s3", "registry", "prometheus", "grafana"])
def test_health_check_uses_the_published_port(name: str) -> None:
    service = _services()[name]
    assert _health_check_ports(service) == {_own_port(service)}
