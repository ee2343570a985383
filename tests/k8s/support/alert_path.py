"""A real Prometheus with the rules of drift, and a real Alertmanager with our configuration.

Days and weeks are real: their samples have old times (:mod:`tests.k8s.support.drift_history`). What
has to be waited for is shorter (:mod:`tests.k8s.support.faster`), and addresses and the path of the
token are those of the test. Nothing else differs from the files in ``k8s``.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from stream_scorer.local.probe import pick_free_port
from stream_scorer.local.scrape import answers, read_series
from stream_scorer.runtime.processes import end_child, start_child
from tests.k8s.support.drift_history import HOURS, Pod, Samples, add_recorded, counted
from tests.k8s.support.faster import faster
from tests.k8s.support.observed import UNPACKED, Prometheus, find_tool
from tests.k8s.support.rendering import K8S, Object
from tests.k8s.support.rules import groups
from tests.support.waiting import wait_until

CONFIGURATION: Final = K8S / "observability/alertmanager.yml"
WEBHOOK: Final = "/api/v1/trainings/alertmanager"

_RECORDS_HOURS: Final = "fraud-drift-hours"
_HOUR: Final = 3600


class AlertPath:
    """Prometheus and Alertmanager, while they run."""

    def __init__(self, prometheus: Prometheus, alertmanager: str) -> None:
        self.prometheus = prometheus
        self._alertmanager = alertmanager

    def webhooks(self) -> dict[str, float]:
        """The counters of Alertmanager about its webhooks, without their prefix and labels."""
        found = {key.partition("{")[0]: value
                 for key, value in read_series(f"{self._alertmanager}/metrics").items()
                 if '{integration="webhook"' in key}  # fmt: skip
        return {name.removeprefix("alertmanager_"): value for name, value in found.items()}

    def states(self) -> dict[tuple[str, str], set[str]]:
        """The states that each alert of each version has had since the start."""
        found: dict[tuple[str, str], set[str]] = {}
        for one in self.prometheus.value("count_over_time(ALERTS[1h])"):
            labels = one["metric"]
            found.setdefault((labels["alertname"], labels["version"]), set()).add(
                labels["alertstate"]
            )
        return found

    def highest(self, record: str, version: str) -> float:
        """The highest value of a record of a version, over its features."""
        expr = f'max({record}{{version="{version}"}})'
        # After a late scrape there is no value until the next one.
        (found,) = wait_until(lambda: self.prometheus.value(expr), what=expr)
        return float(found["value"][1])


@contextmanager
def alert_path(
    folder: Path, pods: Sequence[Pod], dashboard: str, token: str
) -> Iterator[AlertPath]:
    """Run both, on what the pods have counted in a week until now.

    Args:
        folder: for all files.
        pods: the scorers.
        dashboard: its address.
        token: of its webhook.
    """
    with ExitStack() as stack:
        end = time.time() // _HOUR * _HOUR
        samples = Samples()
        ports = {pod: stack.enter_context(counted(pod, end, samples)) for pod in pods}
        _import(folder, samples)
        with _prometheus(folder, {}) as blank:
            _import(folder, _record_hours(blank, end))
        alertmanager = stack.enter_context(_alertmanager(folder, dashboard, token))
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": faster(_drift_rules())}))
        config = _configuration(ports, alertmanager)
        yield AlertPath(stack.enter_context(_prometheus(folder, config)), alertmanager)


def local_configuration(config: Object, dashboard: str, token_file: Path) -> Object:
    """Our Alertmanager configuration with the addresses and the token's path of a test."""
    text = yaml.safe_dump(config)
    text, addresses = re.subn(rf"http://[^/\s]+{WEBHOOK}", f"{dashboard}{WEBHOOK}", text)
    text, files = re.subn(r"credentials_file: \S+", f"credentials_file: {token_file}", text)
    assert (addresses, files) == (1, 1), "the configuration has another webhook"
    local: Object = faster(yaml.safe_load(text))
    return local


def _drift_rules() -> list[Object]:
    return [group for group in groups() if group["name"].startswith("fraud-drift")]


def _record_hours(prometheus: Prometheus, end: float) -> Samples:
    """What the rules of an hour would have recorded at every full hour of the week.

    ``promtool tsdb create-blocks-from rules`` asks the same, but for two hours at once: a minute.
    """
    recorded = Samples()
    (group,) = (one for one in groups() if one["name"] == _RECORDS_HOURS)
    span = {"start": end - (HOURS - 1) * _HOUR, "end": end, "step": _HOUR}
    for rule in group["rules"]:
        found = prometheus.get("query_range", query=rule["expr"], **span)["result"]
        add_recorded(recorded, found, rule["record"])
    return recorded


def _import(folder: Path, samples: Samples) -> None:
    path = folder / "old.om"
    samples.write(path)
    promtool = find_tool("promtool")
    assert promtool, "no promtool on this machine"
    done = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet",
         "--max-block-duration=400h", path, folder / "tsdb"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _configuration(ports: Mapping[Pod, int], alertmanager: str) -> Object:
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": pod.labels}
               for pod, port in ports.items()]  # fmt: skip
    host = alertmanager.removeprefix("http://")
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [host]}]}]},
        "scrape_configs": [{"job_name": "stream-scorer", "static_configs": targets}],
    }


@contextmanager
def _prometheus(folder: Path, config: Object) -> Iterator[Prometheus]:
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    options = [f"--config.file={path}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with _running(folder, "prometheus", *options) as address:
        yield Prometheus(address)


@contextmanager
def _alertmanager(folder: Path, dashboard: str, token: str) -> Iterator[str]:
    (folder / "token").write_text(token)
    config = local_configuration(
        yaml.safe_load(CONFIGURATION.read_text("utf-8")), dashboard, folder / "token"
    )
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    options = [f"--config.file={path}", f"--storage.path={folder / 'alertmanager'}",
               "--cluster.listen-address="]  # fmt: skip
    with _running(folder, "alertmanager", *options) as address:
        yield address


@contextmanager
def _running(folder: Path, name: str, *options: str) -> Iterator[str]:
    """Run one of the two until its address answers; yields the address."""
    executable = find_tool(name)
    assert executable, f"no {name} on this machine"
    # The unpacked Alertmanager finds its templates from there.
    command = ["/usr/bin/env", f"--chdir={UNPACKED.parents[1]}"] if UNPACKED.exists() else []
    listen = f"127.0.0.1:{pick_free_port()}"
    with (folder / f"{name}.log").open("ab") as log:
        child = start_child(
            [*command, executable, *options, f"--web.listen-address={listen}"],
            log,
            dict(os.environ),
        )
    try:
        ready = partial(answers, f"http://{listen}/-/ready")
        wait_until(lambda: child.poll() is not None or ready(), what=name)
        assert child.poll() is None, (folder / f"{name}.log").read_text(errors="replace")
        yield f"http://{listen}"
    finally:
        end_child(child, 20.0)
