"""Runs trainings as Jobs, each made from the CronJob that trains on schedule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from dashboard.trainings.config_map import NAME, ConfigMapRecords
from dashboard.trainings.jobs import is_being_deleted, make_job, name_job, owned_by, read_job
from dashboard.trainings.kubernetes_api import ApiError, KubernetesApi
from dashboard.trainings.records import Records
from dashboard.trainings.rules import check_cancel
from dashboard.trainings.training import (
    AUTOMATIC,
    LOG_MAX_BYTES,
    LOG_MAX_LINES,
    AlreadyRunning,
    Order,
    State,
    Training,
    TrainingsUnavailable,
    tail,
)

log = logging.getLogger(__name__)

_BATCH: Final = ("apis", "batch", "v1", "namespaces")
_CORE: Final = ("api", "v1", "namespaces")
_MOST_JOBS: Final = 500
_UNAUTHORIZED: Final = (401, 403)
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_TRIES: Final = 3


class KubernetesRunner:
    """Trainings as Jobs.

    A ConfigMap remembers the last automatic training and those that were cancelled. Without it, as
    with the manifests of an earlier release, what is known are the Jobs that still exist.

    Args:
        api: the API server.
        namespace: of CronJob and Jobs.
        cronjob: its name.
    """

    def __init__(self, api: KubernetesApi, namespace: str, cronjob: str) -> None:
        self._api = api
        self._namespace = namespace
        self._cronjob = cronjob
        self._records = ConfigMapRecords(api, namespace)
        self._has_warned = False

    @property
    def where(self) -> str:
        """Where trainings run, in words."""
        return f"a Job in the namespace {self._namespace}"

    def list(self) -> list[Training]:
        """The trainings of all Jobs of the CronJob that still exist, and those that were cancelled.

        Newest first.
        """
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
        known = {one.token for one in trainings}
        trainings += [one for one in self._remembered().cancelled if one.token not in known]
        return sorted(trainings, key=lambda one: (one.started_at, one.id), reverse=True)

    def start(self, order: Order, now: int, seen: Sequence[Training]) -> Training:
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
        before = self._note_automatic(Training(
            name, State.RUNNING, now, order.trigger, order.reason, order.by, key=order.key
        ))  # fmt: skip
        try:
            return read_job(self._api.create(*_BATCH, self._namespace, "jobs", body=job))
        except ApiError as error:
            if error.status == _CONFLICT:
                other = self._other(name, error)
                if before is not None and other.trigger in AUTOMATIC:
                    before = before.with_automatic(other)
                self._restore(before)
                raise AlreadyRunning(other) from None
            if error.status is not None:  # without an answer it may have been created
                self._restore(before)
            raise self._unavailable(error, "no training was started") from error

    def last_automatic(self) -> Training | None:
        """The last one that was started, from the ConfigMap."""
        return self._remembered().automatic

    def cancel(self, training: Training, by: str, now: int) -> tuple[Training, bool]:
        """Delete the Job. It ends when its pods have ended, and is remembered as cancelled."""
        place = (*_BATCH, self._namespace, "jobs", training.id)
        found, is_new = training, False
        try:
            for attempt in range(1, _TRIES + 1):
                job = self._api.get(*place)
                found = read_job(job)
                if is_being_deleted(job):
                    break
                check_cancel(found)  # it may have ended, or be another one of this name
                try:
                    self._api.delete(*place, body=_delete_options(job))
                except ApiError as error:
                    if error.status != _CONFLICT or attempt == _TRIES:
                        raise
                else:
                    is_new = True
                    break
        except ApiError as error:
            raise self._unavailable(error, "the training was not cancelled") from error
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingsUnavailable(
                f"the API server sent a Job that cannot be read: {error!r}"
            ) from error
        if is_new:
            ended = replace(found, state=State.CANCELLED, ended_at=now, detail=f"cancelled by {by}")
            self._try_to_change(lambda records: records.with_cancelled(ended))
        return replace(found, detail="it is being deleted, and its pods end"), is_new

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

    def _remembered(self) -> Records:
        try:
            return self._records.read()
        except ApiError as error:
            if error.status not in (*_UNAUTHORIZED, _NOT_FOUND):
                raise self._unavailable(error, f"cannot read the ConfigMap {NAME}") from error
            self._warn_missing(error)
            return Records()

    def _note_automatic(self, planned: Training) -> Records | None:
        """Remember an automatic training before its Job exists, so that no crash forgets it."""
        if planned.trigger not in AUTOMATIC:
            return None
        try:
            return self._records.change(lambda records: records.with_automatic(planned))
        except ApiError as error:
            if error.status not in (*_UNAUTHORIZED, _NOT_FOUND):
                raise self._unavailable(error, "no training was started") from error
            self._warn_missing(error)
            return None

    def _restore(self, before: Records | None) -> None:
        """The automatic training was not started after all."""
        if before is not None:
            self._try_to_change(lambda records: records.with_automatic(before.automatic))

    def _try_to_change(self, change: Callable[[Records], Records]) -> None:
        try:
            self._records.change(change)
        except ApiError as error:
            log.warning("the ConfigMap %s was not changed: %s", NAME, error)

    def _warn_missing(self, error: ApiError) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "only Jobs that still exist count for the cooldown: %s. Apply the ConfigMap %s and "
                "the Role of k8s/base/training", error, NAME,
            )  # fmt: skip

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


def _delete_options(job: dict[str, Any]) -> dict[str, Any]:
    """Delete this very Job as it was read. It stays until its pods have ended."""
    metadata = job["metadata"]
    return {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
    }
