"""Tracking: what a run reports to an experiment tracker, which is MLflow or nothing."""

from __future__ import annotations

import getpass
import importlib.util
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from stream_scorer.model.store.names import METADATA, REPORT, SIGNATURE
from stream_scorer.runtime.text import printable
from stream_scorer.tracking.identity import identity_tags
from trainer.publishing.tracking_client import Limits, Outcome, TrackingProcess, shown_uri
from trainer.publishing.tracking_facts import (
    data_set_of,
    metrics_of,
    params_of,
    tags_of,
)

log = logging.getLogger(__name__)

EXPERIMENT: Final = "fraud-trainer"
LIMITS: Final = Limits()
INSTALL: Final = "pip install 'stream-scorer[tracking]'"

_BUNDLE_FOLDER: Final = "bundle"
_LATER: Final = "to do it later: fraud-trainer models track {}"
_ERROR_MAX_CHARACTERS: Final = 500


class Tracker(Protocol):
    """What a run reports while it runs. No method raises, and only the last one waits.

    A run calls ``start`` once, ``metric`` any number of times, and ``finish`` or ``fail`` once.
    """

    def start(self, plan: Mapping[str, Any], source: str) -> None:
        """The run begins, with its plan, on the rows of ``source``."""

    def metric(self, name: str, value: float, step: int) -> None:
        """A point of a curve."""

    def finish(
        self, metadata: Mapping[str, Any], files: Mapping[str, bytes], *, is_champion: bool
    ) -> None:
        """The run has published the version with this metadata.

        ``files`` are the version's own and, beside them, what else belongs to the run.
        """

    def fail(self, error: BaseException) -> None:
        """The run ends without a version."""


class NoTracker:
    """Tracks nothing."""

    def start(self, plan: Mapping[str, Any], source: str) -> None:
        """See the protocol."""

    def metric(self, name: str, value: float, step: int) -> None:
        """See the protocol."""

    def finish(
        self, metadata: Mapping[str, Any], files: Mapping[str, bytes], *, is_champion: bool
    ) -> None:
        """See the protocol."""

    def fail(self, error: BaseException) -> None:
        """See the protocol."""


class MlflowTracker:
    """Tracks a run in MLflow, by way of a process of its own."""

    def __init__(self, uri: str, store: str, limits: Limits = LIMITS) -> None:
        self._uri = uri
        self._store = store
        self._process = TrackingProcess(uri, limits)
        self._is_reported = False

    def start(self, plan: Mapping[str, Any], source: str) -> None:
        """See the protocol."""
        self._process.send(**_starting("training", plan, source, self._store, _now_ms()))

    def metric(self, name: str, value: float, step: int) -> None:
        """See the protocol; a value that is not finite has no place on a curve."""
        if math.isfinite(value):
            self._process.send(do="metric", point=[name, value, _now_ms(), step])
        if self._process.has_ended:
            later = "once the run has published its version: fraud-trainer models track vN"
            self._warn_once(self._process.end(do="fail"), later)

    def finish(
        self, metadata: Mapping[str, Any], files: Mapping[str, bytes], *, is_champion: bool
    ) -> None:
        """See the protocol."""
        try:
            self._finish(metadata, files, is_champion)
        except OSError as error:  # no room for the files
            self._process.kill()
            later = _LATER.format(metadata["version"])
            self._warn_once(Outcome({"results and files": str(error)}), later)

    def _finish(
        self, metadata: Mapping[str, Any], files: Mapping[str, bytes], is_champion: bool
    ) -> None:
        with _as_files(files, metadata) as paths:
            message = _finishing(metadata, self._store, paths, is_champion)
            outcome = self._process.end(_parts(is_champion), do="finish", at=_now_ms(), **message)
        self._warn_once(outcome, _LATER.format(metadata["version"]))
        if not outcome.missed:
            log.info("tracked in MLflow: %s", printable(shown_uri(outcome.url)))

    def fail(self, error: BaseException) -> None:
        """See the protocol."""
        is_killed = not isinstance(error, Exception)
        text = shown_uri(f"{type(error).__name__}: {error}"[:_ERROR_MAX_CHARACTERS])
        status = "KILLED" if is_killed else "FAILED"
        outcome = self._process.end(("run",), do="fail", error=text, status=status, at=_now_ms())
        self._warn_once(outcome, "if it published a version: fraud-trainer models track vN")

    def _warn_once(self, outcome: Outcome, later: str) -> None:
        if not self._is_reported:
            _warn(self._uri, outcome, later)
        self._is_reported |= bool(outcome.missed)


def open_tracker(uri: str | None, store: str) -> Tracker:
    """The tracker for ``MLFLOW_TRACKING_URI``; without it, or without MLflow's client, none."""
    if not uri or not _is_installed():
        return NoTracker()
    try:
        return MlflowTracker(uri, store, LIMITS)
    except OSError as error:  # no memory for another process
        log.warning("the run is not tracked in MLflow: %s", error)
        return NoTracker()


@contextmanager
def tracked(tracker: Tracker) -> Iterator[Tracker]:
    """Report to the tracker whatever ends the block."""
    try:
        yield tracker
    except BaseException as error:
        tracker.fail(error)
        raise


def track_version(
    uri: str | None,
    store: str,
    metadata: Mapping[str, Any],
    files: Mapping[str, bytes],
    *,
    is_champion: bool,
) -> Outcome | None:
    """Track a published version afterwards, unless it is registered already.

    The alias follows, if the version is the champion. A failure is logged and returned.

    Returns:
        What became of it; None without a server.
    """
    if not uri or not _is_installed():
        return None
    version = str(metadata["version"])
    training = metadata.get("training")
    source = str(training.get("source", "")) if isinstance(training, Mapping) else ""
    parameters = metadata.get("parameters")
    with _as_files(files, metadata) as paths:
        finish = _finishing(metadata, store, paths, is_champion) | {"at": _now_ms()}
        start = _starting(
            version, parameters if isinstance(parameters, Mapping) else {}, source, store, _now_ms()
        )
        start["tags"]["tracked"] = "after the run"
        process = TrackingProcess(uri, LIMITS)
        parts = _parts(is_champion)
        outcome = process.end(parts, **{**start, "do": "track", "finish": finish})
    _warn(uri, outcome, _LATER.format(version))
    return outcome


def follow_pointer(uri: str | None, metadata: Mapping[str, Any]) -> Outcome | None:
    """Let the alias ``champion`` name the version with this metadata, which was promoted.

    Returns:
        What became of it; None without a server.
    """
    if not uri or not _is_installed():
        return None
    version = str(metadata["version"])
    outcome = TrackingProcess(uri, LIMITS).end(
        ("alias",), do="follow", tags=identity_tags(metadata)
    )
    _warn(uri, outcome, _LATER.format(version))
    if not outcome.missed and outcome.champion is None:
        log.warning(
            "%s is promoted, but it is not registered in MLflow, so no version has the alias "
            "champion now; to register it: fraud-trainer models track %s",
            version,
            version,
        )
    return outcome


def _is_installed() -> bool:
    try:
        is_installed = importlib.util.find_spec("mlflow") is not None
    except ValueError:  # something else has taken its name
        is_installed = False
    if not is_installed:
        log.warning(
            "MLFLOW_TRACKING_URI is set, but MLflow's client is not installed, so nothing is "
            "tracked: %s",
            INSTALL,
        )
    return is_installed


def _starting(
    name: str, plan: Mapping[str, Any], source: str, store: str, at: int
) -> dict[str, Any]:
    tags = {
        "mlflow.source.name": "fraud-trainer",
        "mlflow.source.type": "JOB",
        "mlflow.user": _user(),
        "data_source": shown_uri(source),
        "store": shown_uri(store),
    }
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    return {
        "do": "start",
        "experiment": experiment,
        "name": name,
        "params": params_of(plan),
        "tags": {key: value for key, value in tags.items() if value},
        "at": at,
    }


def _finishing(
    metadata: Mapping[str, Any], store: str, paths: list[tuple[str, str | None]], is_champion: bool
) -> dict[str, Any]:
    parameters = metadata.get("parameters")
    version = str(metadata["version"])
    return {
        "name": version,
        "params": params_of(parameters if isinstance(parameters, Mapping) else {}),
        "metrics": metrics_of(metadata),
        "tags": tags_of(metadata, store),
        "data_set": data_set_of(metadata),
        "files": paths,
        "description": f"{version} in {shown_uri(store)}",
        "is_champion": is_champion,
    }


@contextmanager
def _as_files(
    files: Mapping[str, bytes], metadata: Mapping[str, Any]
) -> Iterator[list[tuple[str, str | None]]]:
    """The files on disk, each with the folder it goes to: those that scorers load are the model."""
    of_version = {*metadata.get("files", ()), METADATA, SIGNATURE} - {REPORT}
    with tempfile.TemporaryDirectory(prefix="fraud-trainer-") as folder:
        paths: list[tuple[str, str | None]] = []
        for name, content in sorted(files.items(), key=lambda item: len(item[1])):
            path = Path(folder) / name
            path.write_bytes(content)
            paths.append((str(path), _BUNDLE_FOLDER if name in of_version else None))
        yield paths


def _parts(is_champion: bool) -> tuple[str, ...]:
    parts = ("run", "results", "data set", "files", "registered model")
    return (*parts, "alias") if is_champion else parts


def _warn(uri: str, outcome: Outcome, later: str) -> None:
    """One warning that says what is not tracked, why, and how to do it later."""
    if outcome.missed:
        parts = ", ".join(outcome.missed)
        why = printable(next(iter(outcome.missed.values())))
        log.warning("not tracked in MLflow at %s: %s: %s; %s", shown_uri(uri), parts, why, later)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""


def _now_ms() -> int:
    return int(time.time() * 1000)
