"""Trainings as Jobs of Kubernetes: a Job of a CronJob, and a training of a Job. Pure functions.

A Job is made as ``kubectl create job --from=cronjob/NAME`` makes it: with the template's labels and
annotations, and owned by the CronJob, whose history limits then apply to it.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dashboard.trainings.training import REFUSED_CODE, Order, State, Training, Trigger
from stream_scorer.runtime.text import printable

PREFIX: Final = "fraud-detection"
"""Of our annotations. The CronJob's template reads those of the pod into variables."""

REASON: Final = f"{PREFIX}/training-reason"
TRIGGER: Final = f"{PREFIX}/training-trigger"
BY: Final = f"{PREFIX}/training-by"
KEY: Final = f"{PREFIX}/training-key"

_INSTANTIATE: Final = "cronjob.kubernetes.io/instantiate"  # kubectl sets it
_NAME_MAX: Final = 40  # of the CronJob in a Job's name, which is also a label of at most 63
_DIGEST_HEX: Final = 10
_TEXT_MAX: Final = 600  # characters of any text that is shown
_REFUSED: Final = re.compile(rf"\bexit code {REFUSED_CODE}\b")
_DELETED: Final = "it is being deleted, and its pods end"


def name_job(cronjob: Mapping[str, Any], seen: Sequence[Training]) -> str:
    """The name of the next Job: a digest of the newest one that was seen.

    Two dashboards that decide on the same list choose the same name, and the API server creates
    only one of the two Jobs. A dashboard that sees the other's Job finds it running.
    """
    newest = max(seen, key=lambda one: (one.started_at, one.id), default=None)
    metadata = cronjob["metadata"]
    text = f"{metadata['uid']} {newest.token if newest else ''}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_HEX]
    return f"{metadata['name'][:_NAME_MAX]}-{digest}"


def make_job(cronjob: Mapping[str, Any], name: str, order: Order) -> dict[str, Any]:
    """The Job of a request."""
    template = copy.deepcopy(cronjob["spec"]["jobTemplate"])
    metadata, spec = template.get("metadata") or {}, template["spec"]
    notes = {REASON: order.reason, TRIGGER: order.trigger.value, BY: order.by}
    pod = spec["template"].setdefault("metadata", {})
    pod["annotations"] = {**(pod.get("annotations") or {}), **notes}
    if order.key:
        notes[KEY] = order.key
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": dict(metadata.get("labels") or {}),
            "annotations": {**(metadata.get("annotations") or {}), _INSTANTIATE: "manual", **notes},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": cronjob["metadata"]["name"],
                    "uid": cronjob["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": spec,
    }


def read_job(job: Mapping[str, Any]) -> Training:
    """The training of a Job, whoever created it.

    Raises:
        KeyError, TypeError, ValueError: it is not a Job.
    """
    metadata = job["metadata"]
    notes = metadata.get("annotations") or {}
    state, detail, ended = _state(job.get("status") or {})
    if state is State.RUNNING and is_being_deleted(job):
        detail = _DELETED
    return Training(
        str(metadata["name"]),
        state,
        _milliseconds(metadata["creationTimestamp"]),
        _trigger(notes),
        _text(notes.get(REASON)),
        _text(notes.get(BY)),
        ended,
        detail,
        str(notes.get(KEY) or ""),
        str(metadata["uid"]),
    )


def is_being_deleted(job: Mapping[str, Any]) -> bool:
    """Whether a Job was deleted and waits for the end of its pods."""
    return bool(job["metadata"].get("deletionTimestamp"))


def owned_by(job: Mapping[str, Any], cronjob: str) -> bool:
    """Whether a Job belongs to the CronJob of this name."""
    owners = job["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == "CronJob" and owner.get("name") == cronjob for owner in owners)


def _trigger(notes: Mapping[str, Any]) -> Trigger:
    try:
        return Trigger(notes[TRIGGER])
    except (KeyError, ValueError):
        return Trigger.KUBECTL if notes.get(_INSTANTIATE) == "manual" else Trigger.SCHEDULE


def _state(status: Mapping[str, Any]) -> tuple[State, str, int | None]:
    """State, detail and end of a Job. Until a condition says so it has not ended."""
    for condition in status.get("conditions") or ():
        if condition.get("status") != "True":
            continue
        when = condition.get("lastTransitionTime")
        if condition.get("type") == "Complete":
            return State.SUCCEEDED, "", _milliseconds(status.get("completionTime") or when)
        if condition.get("type") == "Failed":
            words = (condition.get("reason"), condition.get("message"))
            detail = ": ".join(_text(word) for word in words if word)
            # The rule of the CronJob for that exit code: the training is not tried again.
            is_refused = words[0] == "PodFailurePolicy" and _REFUSED.search(detail)
            return State.REFUSED if is_refused else State.FAILED, detail, _milliseconds(when)
    is_starting = not status.get("active") and not status.get("failed")
    return State.RUNNING, "no pod runs yet" if is_starting else "", None


def _text(value: Any) -> str:
    return printable(value[:_TEXT_MAX]) if isinstance(value, str) else ""


def _milliseconds(time: Any) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)
