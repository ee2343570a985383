"""The alerting rules: read from the PrometheusRule manifests, written for a plain Prometheus.

``python -m tests.k8s.support.rules`` writes ``k8s/observability/rules.yml`` anew.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from tests.k8s.support.rendering import K8S, ROOT, Object, load

MANIFESTS = K8S / "components/monitoring"
PLAIN = K8S / "observability/rules.yml"
UNIT_TESTS = sorted((ROOT / "tests/k8s/alerts").glob("*.yml"))
"""Of promtool."""
HEAD = (
    "# The rules of k8s/components/monitoring/*-prometheusrule.yaml, for a Prometheus without the\n"
    "# operator. Made by: python -m tests.k8s.support.rules\n"
)


def groups() -> list[Object]:
    """Every rule group of the manifests, in the order of their file names."""
    files = sorted(MANIFESTS.glob("*-prometheusrule.yaml"))
    return [group for path in files for group in load(path)["spec"]["groups"]]


def rules() -> Iterator[Object]:
    """Every rule, recording and alerting."""
    for group in groups():
        yield from group["rules"]


def alerts() -> list[Object]:
    """The alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


def render_plain() -> str:
    """The text of the plain rule file."""
    return HEAD + yaml.safe_dump({"groups": groups()}, sort_keys=False, width=100)


if __name__ == "__main__":
    PLAIN.write_text(render_plain(), encoding="utf-8")
