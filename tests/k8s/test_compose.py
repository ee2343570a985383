"""compose.yaml: hardened, on loopback, whole with and without its profiles."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stream_scorer.topics import DEFAULT_PARTITIONS
from tests.k8s.known_settings import default_of, known_names
from tests.k8s.rendering import OURS, ROOT, load, read_env

SHIPPED = read_env(ROOT / ".env")


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = load(ROOT / "compose.yaml")["services"]
    return services


OUR_SERVICES = sorted(n for n, s in _services().items() if s["image"].startswith(OURS))


def test_all_variables_have_a_default_in_the_shipped_env() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)\}", text))
    assert used == set(SHIPPED) - {"COMPOSE_PROFILES"}


def test_our_images_are_built_here_and_the_others_are_pinned() -> None:
    assert len(OUR_SERVICES) >= 5
    for name, service in _services().items():
        if name in OUR_SERVICES:
            target = service["image"].removeprefix(OURS).split(":")[0]
            assert service["build"] == {"context": ".", "target": target}
        else:
            assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"]), name


@pytest.mark.parametrize("name", OUR_SERVICES)
def test_our_containers_can_write_nowhere_and_gain_nothing(name: str) -> None:
    service = _services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]


@pytest.mark.parametrize("name", OUR_SERVICES)
def test_every_variable_is_one_that_a_process_reads(name: str) -> None:
    own = {"TRAINING_ROWS", "DEMO_RATE"}  # of the shell line in the service's command
    assert set(_services()[name]["environment"]) - known_names() - own == set()


def test_every_port_is_published_on_loopback_only() -> None:
    ports = [port for service in _services().values() for port in service.get("ports", [])]
    assert len(ports) == 4
    for port in ports:
        assert port.startswith("127.0.0.1:"), port


def test_listening_ports_are_the_default_ones() -> None:
    services = _services()
    for name, variable in (("scorer", "METRICS_PORT"), ("dashboard", "DASHBOARD_PORT")):
        (port,) = services[name]["ports"]
        assert int(port.rsplit(":", 1)[1]) == default_of(variable)
        assert f":{default_of(variable)}/readyz" in services[name]["healthcheck"]["test"][-1]


def test_nothing_depends_on_a_service_that_a_profile_can_switch_off() -> None:
    services = _services()
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            assert "profiles" not in services[other], f"{name} depends on {other}"


def test_dashboard_asks_for_a_token_because_others_could_reach_it() -> None:
    file = load(ROOT / "compose.yaml")["secrets"]["dashboard-tokens"]["file"]
    assert (ROOT / file).is_file()
    environment = _services()["dashboard"]["environment"]
    assert environment["DASHBOARD_AUTH"] == "token"
    assert environment["DASHBOARD_TOKENS_FILE"] == "/run/secrets/dashboard-tokens"


def test_as_many_partitions_as_everywhere_else() -> None:
    assert int(SHIPPED["PARTITIONS"]) == DEFAULT_PARTITIONS
