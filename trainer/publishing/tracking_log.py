"""Writes runs and model versions to an MLflow server; the only module that uses MLflow's client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from stream_scorer.tracking.identity import ALIAS, REGISTERED_MODEL

BUNDLE_FOLDER: Final = "bundle"
"""The run's artifacts that are the registered model."""

_BATCH: Final = {"metrics": 1000, "params": 100, "tags": 100}
"""The most that one request may carry (MLflow's REST API)."""


@dataclass(slots=True)
class MlflowLog:
    """Implements :class:`~trainer.publishing.tracking_session.RunLog`.

    ``answered`` is called after each answer of the server.
    """

    client: MlflowClient
    answered: Callable[[], None]
    run_id: str = ""
    url: str = ""
    _artifact_uri: str = ""
    _params: set[str] = field(default_factory=set)

    def start(self, experiment: str, name: str, tags: Mapping[str, str], started_ms: int) -> None:
        """See the protocol."""
        experiment_id = self._experiment(experiment)
        run = self.client.create_run(
            experiment_id, start_time=started_ms, tags=dict(tags), run_name=name
        )
        self.run_id = run.info.run_id
        self._artifact_uri = run.info.artifact_uri
        host = str(self.client.tracking_uri).rstrip("/")
        self.url = f"{host}/#/experiments/{experiment_id}/runs/{self.run_id}"
        self.answered()

    def log_params(self, params: Mapping[str, str]) -> None:
        """See the protocol: MLflow refuses to change a parameter."""
        new = {name: value for name, value in params.items() if name not in self._params}
        for part in _parts(list(new.items()), _BATCH["params"]):
            self.client.log_batch(self.run_id, params=[Param(*item) for item in part])
            self._params.update(name for name, _ in part)
            self.answered()

    def log_metrics(self, metrics: Sequence[tuple[str, float, int, int]]) -> None:
        """See the protocol."""
        for part in _parts(metrics, _BATCH["metrics"]):
            self.client.log_batch(self.run_id, metrics=[Metric(*point) for point in part])
            self.answered()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """See the protocol."""
        for part in _parts(list(tags.items()), _BATCH["tags"]):
            self.client.log_batch(self.run_id, tags=[RunTag(*item) for item in part])
            self.answered()

    def rename(self, name: str) -> None:
        """See the protocol."""
        self.client.update_run(self.run_id, name=name)
        self.answered()

    def log_data_set(self, described: Mapping[str, str]) -> None:
        """See the protocol."""
        data_set = Dataset(
            name=described["name"],
            digest=described["digest"],
            source_type="uri",
            source=described["source"],
            profile=described["profile"],
        )
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.run_id, [DatasetInput(data_set, [context])])
        self.answered()

    def log_file(self, path: str, folder: str | None) -> None:
        """See the protocol."""
        self.client.log_artifact(self.run_id, path, folder)
        self.answered()

    def end(self, status: str, ended_ms: int) -> None:
        """See the protocol."""
        self.client.set_terminated(self.run_id, status, ended_ms)
        self.answered()

    def register(self, tags: Mapping[str, str], description: str) -> None:
        """See the protocol."""
        with _unless("RESOURCE_ALREADY_EXISTS"):
            self.client.create_registered_model(REGISTERED_MODEL)
        self.answered()
        if self.find_registered(tags) is None:
            self.client.create_model_version(
                REGISTERED_MODEL,
                f"{self._artifact_uri}/{BUNDLE_FOLDER}",
                self.run_id,
                tags=dict(tags),
                description=description,
                await_creation_for=0,
            )
            self.answered()

    def find_registered(self, tags: Mapping[str, str]) -> str | None:
        """See the protocol. The digest keeps the models of several stores on one server apart."""
        wanted = {name: tags[name] for name in ("model_version", "model_sha256")}
        found = self.client.search_model_versions(
            f"name = '{REGISTERED_MODEL}' AND tags.model_version = '{wanted['model_version']}'"
        )
        self.answered()
        for version in found:
            if all(version.tags.get(name) == value for name, value in wanted.items()):
                return str(version.version)
        return None

    def move_alias(self, tags: Mapping[str, str]) -> str | None:
        """See the protocol: without an alias nobody takes another version for the promoted one."""
        found = self.find_registered(tags)
        if found is not None:
            self.client.set_registered_model_alias(REGISTERED_MODEL, ALIAS, found)
        else:
            with _unless("RESOURCE_DOES_NOT_EXIST"):
                self.client.delete_registered_model_alias(REGISTERED_MODEL, ALIAS)
        self.answered()
        return found

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        self.answered()
        if found is None:
            with _unless("RESOURCE_ALREADY_EXISTS"):
                self.client.create_experiment(name)
            found = self.client.get_experiment_by_name(name)
            self.answered()
        return str(found.experiment_id)


def open_log(uri: str, answered: Callable[[], None]) -> MlflowLog:
    """The log of a new run on the server at ``uri``; nothing is sent yet."""
    return MlflowLog(MlflowClient(uri), answered)


@contextlib.contextmanager
def _unless(error_code: str) -> Iterator[None]:
    """Ignore one error: what the block wants is already so."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != error_code:
            raise


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
