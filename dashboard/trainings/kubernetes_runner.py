"""Runs trainings as Jobs, each made from the CronJob that trains on schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dashboard.trainings.jobs import make_job, name_job, owned_by, read_job
from dashboard.trainings.kubernetes_api import ApiError, KubernetesApi
from dashboard.trainings.training import (
    LOG_MAX_BYTES,
    LOG_MAX_LINES,
    AlreadyRunning,
    Order,
    Training,
    TrainingsUnavailable,
    tail,
)

_BATCH: Final = ("apis", "batch", "v1", "namespaces")
_CORE: Final = ("api", "v1", "namespaces")
_MOST_JOBS: Final = 500
_UNAUTHORIZED: Final = (401, 403)
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409


class KubernetesRunner:
    """Trainings as Jobs.

    Args:
        api: the API server.
        namespace: of CronJob and Jobs.
        cronjob: its name.
    """

    def __init__(self, api: KubernetesApi, namespace: str, cronjob: str) -> None:
        self._api = api
        self._namespace = namespace
        self._cronjob = cronjob

    @property
    def where(self) -> str:
        """Where trainings run, in words."""
        return f"a Job in the namespace {self._namespace}"

    def list(self) -> list[Training]:
        """The trainings of all Jobs of the CronJob that still exist, newest first."""
        try:
            found = self._api.get(*_BATCH, self._namespace, "jobs", query={"limit": _MOST_JOBS})
            if found.get("metadata", {}).get("continue"):  # one that runs could be among the rest
                raise TrainingsUnavailable(
                    f"the namespace {self._namespace} has more than {_MOST_JOBS} Jobs: delete "
                    "those that have ended",
                    is_permanent=True,
                )
            jobs = [job for job in found["items"] if owned_by(job, self._cronjob)]
            trainings = list(map(read_job, jobs))
        except ApiError as error:
            raise self._unavailable(error, "cannot list the Jobs") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrainingsUnavailable(
                f"the API server sent Jobs that cannot be read: {error!r}"
            ) from error
        return sorted(trainings, key=lambda one: (one.started_at, one.id), reverse=True)

    def start(self, order: Order, now: int, seen: Sequence[Training]) -> Training:  # noqa: ARG002 - the API server has its own clock
        """Create a Job from the CronJob."""
        try:
            cronjob = self._api.get(*_BATCH, self._namespace, "cronjobs", self._cronjob)
            name = name_job(cronjob, seen)
            job = make_job(cronjob, name, order)
        except ApiError as error:
            raise self._unavailable(error, "no training was started") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise TrainingsUnavailable(
                f"the API server sent a CronJob that cannot be read: {error!r}"
            ) from error
        try:
            return read_job(self._api.create(*_BATCH, self._namespace, "jobs", body=job))
        except ApiError as error:
            if error.status == _CONFLICT:
                raise AlreadyRunning(self._other(name, error)) from None
            raise self._unavailable(error, "no training was started") from error

    def log(self, training_id: str) -> str:
        """The end of the log of the Job's newest pod."""
        where = (*_CORE, self._namespace, "pods")
        selector = f"batch.kubernetes.io/job-name={training_id}"
        try:
            pods = self._api.get(*where, query={"labelSelector": selector, "limit": 50})["items"]
            if not pods:
                return ""
            newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
            name = str(newest["metadata"]["name"])
            query = {"tailLines": LOG_MAX_LINES}
            return tail(self._api.get_text(*where, name, "log", query=query)[-LOG_MAX_BYTES:])
        except ApiError as error:
            # A container that waits has no log yet, and a pod can be deleted in between.
            if error.status in (_BAD_REQUEST, _NOT_FOUND):
                return ""
            raise self._unavailable(error, "cannot read the log") from error
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingsUnavailable(
                f"the API server sent pods that cannot be read: {error!r}"
            ) from error

    def _other(self, name: str, conflict: ApiError) -> Training:
        """The training that another dashboard has started under the same name."""
        try:
            return read_job(self._api.get(*_BATCH, self._namespace, "jobs", name))
        except (ApiError, KeyError, TypeError, ValueError):
            raise TrainingsUnavailable(
                f"no training was started: {conflict}. Try again"
            ) from conflict

    def _unavailable(self, error: ApiError, what: str) -> TrainingsUnavailable:
        """What the error means to whoever requested a training."""
        advice: Any = ""
        if error.status in _UNAUTHORIZED:
            advice = (
                "apply the Role and RoleBinding of k8s/base/training, and check that the pod of "
                "the dashboard runs as its ServiceAccount"
            )
        elif error.status == _NOT_FOUND:
            advice = (
                f"create the CronJob {self._cronjob} in the namespace {self._namespace}, or set "
                "TRAINING_CRONJOB to NAMESPACE/NAME of yours"
            )
        message = f"{what}: {error}"
        return TrainingsUnavailable(
            f"{message}. To fix it, {advice}" if advice else message, is_permanent=bool(advice)
        )
