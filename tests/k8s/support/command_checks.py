"""Whether a command would work: its arguments parse, and what it names exists.

Each check yields what is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

import yaml

from dashboard.__main__ import _parser as dashboard_parser
from stream_scorer.cli.parsing.parser import build_parser
from tests.k8s.support.rendering import K8S, ROOT, pod_spec, render, render_with
from trainer.commands.parser import build_parser as trainer_parser

PARSERS: Final[dict[str, Callable[[], argparse.ArgumentParser]]] = {
    "stream-scorer": build_parser,
    "fraud-trainer": trainer_parser,
    "fraud-dashboard": dashboard_parser,
}
COMPOSE_FLAGS: Final = {
    "down": {"--volumes": 0},
    "events": {"--since": 1, "--until": 1},
    "exec": {"-T": 0},
    "logs": {"--tail": 1, "--timestamps": 0},
    "port": {"--index": 1},
    "ps": {"--all": 0},
    "restart": {},
    "stop": {},
    "start": {},
    "run": {"--rm": 0, "--no-deps": 0, "-T": 0},
    "up": {"--build": 0, "--detach": 0, "--no-recreate": 0, "--scale": 1},
}
"""The flags that the pages use, by command, with the number of their values."""

KUBECTL_VERBS: Final = {
    "annotate", "apply", "create", "delete", "describe", "events", "exec", "get", "kustomize",
    "logs", "patch", "port-forward", "rollout", "scale", "set", "wait",
}  # fmt: skip
KINDS: Final = {
    "cronjob": "CronJob", "deploy": "Deployment", "deployment": "Deployment", "job": "Job",
    "scaledobject": "ScaledObject", "service": "Service", "statefulset": "StatefulSet",
}  # fmt: skip
JOBS: Final = {"command-x", "first-training", "retrain", "retrain-next"}
"""Jobs that the pages create by hand, and the one of the fake kubectl."""

PLACEHOLDER: Final = re.compile(r"[A-Z]+")
_POD_LABEL: Final = "app.kubernetes.io/name"


def faults(words: Sequence[str]) -> Iterator[str]:
    """What is wrong with one command."""
    name, *rest = words
    name = "python" if name.startswith("python") else name
    if name in PARSERS:
        yield from _own(name, rest)
    elif name in _CHECKS:
        yield from _CHECKS[name](rest)


def _own(name: str, words: list[str]) -> Iterator[str]:
    if words in (["--version"], ["--help"]):
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            PARSERS[name]().parse_args(words)
    except SystemExit as end:
        if end.code:
            yield f"{name} {' '.join(words)}: {said.getvalue().strip().splitlines()[-1]}"


@cache
def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return found["services"]


def _docker(words: list[str]) -> Iterator[str]:
    if words[0] == "build":
        yield from _docker_build(words)
        return
    rest = words[1:]
    if words[0] != "compose":
        yield f"docker {words[0]} is not known"
        return
    profiles = {
        profile for service in services().values() for profile in service.get("profiles", [])
    }
    while rest and rest[0] == "--profile":
        if rest[1] not in profiles | {"*"}:
            yield f"compose.yaml has no profile {rest[1]}"
        rest = rest[2:]
    if not rest or rest[0] not in COMPOSE_FLAGS:
        yield f"docker compose {rest[:1]} is not known"
        return
    yield from _compose(rest[0], rest[1:])


def _compose(verb: str, rest: list[str]) -> Iterator[str]:
    flags = COMPOSE_FLAGS[verb]
    while rest and rest[0].startswith("-"):
        flag, equals, value = rest.pop(0).partition("=")
        if flag not in flags:
            yield f"docker compose {verb} has no flag {flag} that the pages use"
        elif flags[flag] and not equals:
            value = rest.pop(0)
        if flag == "--scale" and value.partition("=")[0] not in services():
            yield f"compose.yaml has no service {value}"
    if verb in ("exec", "run"):
        names, command = rest[:1], rest[1:]
        if not names:
            yield f"docker compose {verb} needs a service"
        elif command:
            yield from faults(command)
        elif verb == "exec":
            yield "docker compose exec needs a command"
    elif verb == "port":
        names, (port,) = rest[:1], rest[1:]
        if not services()[names[0]]["ports"][0].endswith(f":{port}"):
            yield f"{names[0]} does not publish port {port}"
    else:
        names = rest
    yield from (f"compose.yaml has no service {name}" for name in names if name not in services())


def _docker_build(words: list[str]) -> Iterator[str]:
    target = words[words.index("--target") + 1]
    stages = re.findall(
        r"^FROM .* AS (\S+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    if target not in stages:
        yield f"the Dockerfile has no stage {target}"


@cache
def _objects() -> frozenset[tuple[str, str]]:
    """Kind and name of everything that the manifests create."""
    both = [*render("overlays/production"), *render("overlays/local")]
    both += render_with("overlays/production", "signed-models", "quality", "drift", "compare")
    return frozenset((item["kind"], item["metadata"]["name"]) for item in both)


@cache
def _pod_labels() -> frozenset[str]:
    objects = render("overlays/production")
    pods = (item for item in objects if pod_spec(item))
    found = set()
    for item in pods:
        job = item["spec"]["jobTemplate"] if item["kind"] == "CronJob" else item
        found.add(job["spec"]["template"]["metadata"]["labels"][_POD_LABEL])
    return frozenset(found)


def _kubectl(words: list[str]) -> Iterator[str]:
    rest = list(words)
    if rest[0] == "-n":
        namespaces = {name for kind, name in _objects() if kind == "Namespace"}
        if rest[1] not in namespaces | {"kafka"}:
            yield f"no namespace {rest[1]}"
        rest = rest[2:]
    verb, rest = rest[0], rest[1:]
    if verb not in KUBECTL_VERBS:
        yield f"kubectl {verb} is not known"
    if "--" in rest:
        cut = rest.index("--")
        yield from faults(rest[cut + 1 :])
        rest = rest[:cut]
    for flag, value in pairwise(rest):
        if flag == "-l" and value.partition("=")[::2] not in {
            (_POD_LABEL, n) for n in _pod_labels()
        }:
            yield f"no pod has the label {value}"
        if flag == "-k" and not (ROOT / value / "kustomization.yaml").is_file():
            yield f"no kustomization in {value}"
    if verb == "kustomize" and not (ROOT / rest[0] / "kustomization.yaml").is_file():
        yield f"no kustomization in {rest[0]}"
    if verb == "create" and rest[0] in ("secret", "configmap"):
        yield from _created(rest[2] if rest[0] == "secret" else rest[1])
    yield from (f"no {kind} {name}" for kind, name in _named(verb, rest) if not _exists(kind, name))


def _named(verb: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    """Kinds and names of objects: ``deploy/x``, ``--from=cronjob/x``, ``job x``."""
    for word in rest:
        kind, slash, name = word.rpartition("=")[2].partition("/")
        if slash and kind in KINDS:
            yield KINDS[kind], name
    for kind, name in pairwise(rest):
        if kind in KINDS and not name.startswith("-") and verb != "wait":
            yield KINDS[kind], name


def _exists(kind: str, name: str) -> bool:
    if PLACEHOLDER.fullmatch(name) or (kind == "Job" and name in JOBS):
        return True
    return (kind, name) in _objects()


def _created(name: str) -> Iterator[str]:
    """A Secret or ConfigMap that the reader creates must be one that the manifests or pages use."""
    texts = [path.read_text("utf-8") for path in K8S.rglob("*.yaml")]
    texts.append((ROOT / "docs/runbooks.md").read_text("utf-8"))
    if not any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts):
        yield f"nothing uses {name}"


def _make(words: list[str]) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in words:
        name, is_variable, _ = target.partition("=")
        if is_variable:
            if f"$({name})" not in makefile:
                yield f"the Makefile does not use {name}"
        elif not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE):
            yield f"the Makefile has no target {target}"


def _python(words: list[str]) -> Iterator[str]:
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
    elif words[0] == "-m":
        place = ROOT / words[1].replace(".", "/")
        if not (place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()):
            yield f"no module {words[1]}"
    elif not (ROOT / words[0]).is_file() and words[0] not in _scripts_of_pages():
        yield f"no script {words[0]}"


def _pytest(words: list[str]) -> Iterator[str]:
    for word in words:
        if not word.startswith("-") and not (ROOT / word).exists():
            yield f"no file {word}"


@cache
def _scripts_of_pages() -> frozenset[str]:
    """Scripts that a page prints, named in their first line."""
    pages = (ROOT / "README.md", ROOT / "docs/operations.md")
    blocks = [re.findall(r"```python\n# (\S+\.py)\n", page.read_text("utf-8")) for page in pages]
    return frozenset(name for found in blocks for name in found)


def _curl(words: list[str]) -> Iterator[str]:
    json.loads(words[words.index("-d") + 1])
    if "localhost:8000/predict" not in words:
        yield f"curl {words}: no such address"


_CHECKS: Final[dict[str, Callable[[list[str]], Iterator[str]]]] = {
    "docker": _docker,
    "kubectl": _kubectl,
    "make": _make,
    "python": _python,
    "pytest": _pytest,
    "curl": _curl,
}
