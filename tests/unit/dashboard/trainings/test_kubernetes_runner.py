"""Trainings as Jobs: what is created, what of a Job is shown, and what a failing API means."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.trainings.jobs import KEY, make_job, name_job, read_job
from dashboard.trainings.kubernetes_api import ApiError, KubernetesApi
from dashboard.trainings.kubernetes_runner import KubernetesRunner
from dashboard.trainings.records import Records, write_records
from dashboard.trainings.training import (
    AlreadyRunning,
    NotCancellable,
    Order,
    State,
    Training,
    TrainingsUnavailable,
    Trigger,
)
from tests.support.trainings.api_server import (
    CONFIG_MAP,
    CRONJOBS,
    JOBS,
    ApiServer,
    make_cronjob,
    serve_api,
)

DELETED = "it is being deleted, and its pods end"
ORDER = Order("drift", Trigger.DRIFT, "alertmanager", "f" * 32)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[ApiServer, KubernetesRunner, Path]]:
    with serve_api(tmp_path, ApiServer()) as (api, credentials):
        client = KubernetesApi(credentials, api.address, seconds=5)
        yield api, KubernetesRunner(client, "training", "pipeline"), credentials


def test_job_is_made_as_kubectl_makes_it_with_the_request_in_job_and_pod() -> None:
    cronjob = make_cronjob()
    job = make_job(cronjob, "pipeline-1", ORDER)
    metadata, template = job["metadata"], cronjob["spec"]["jobTemplate"]
    assert metadata["labels"] == template["metadata"]["labels"]
    (owner,) = metadata["ownerReferences"]
    assert owner == {"apiVersion": "batch/v1", "kind": "CronJob", "name": "pipeline",
                     "uid": "cron-1", "controller": True}  # fmt: skip
    requested = {
        "fraud-detection/training-reason": "drift",
        "fraud-detection/training-trigger": "drift",
        "fraud-detection/training-by": "alertmanager",
    }
    manual = {"cronjob.kubernetes.io/instantiate": "manual", KEY: "f" * 32}
    assert metadata["annotations"] == requested | manual
    pod = job["spec"]["template"]
    assert pod["metadata"]["annotations"] == {"safe-to-evict": "false"} | requested
    assert pod["spec"] == template["spec"]["template"]["spec"]
    assert cronjob == make_cronjob()  # it was copied
    assert KEY not in make_job(cronjob, "n", replace(ORDER, key=""))["metadata"]["annotations"]


def test_name_follows_from_the_newest_job_and_is_a_valid_label() -> None:
    cronjob = make_cronjob()
    old = Training("b", State.FAILED, 1, Trigger.PERSON, token="u1")
    new = Training("a", State.FAILED, 2, Trigger.PERSON, token="u2")
    name = name_job(cronjob, [old, new])
    assert name == name_job(cronjob, [new]) == name_job(cronjob, [new, old])
    assert len({name, name_job(cronjob, []), name_job(cronjob, [old])}) == 3
    cronjob["metadata"]["name"] = "p" * 52
    assert len(name_job(cronjob, [])) <= 63


@pytest.mark.parametrize(
    ("annotations", "trigger"),
    [
        ({}, Trigger.SCHEDULE),
        ({"cronjob.kubernetes.io/instantiate": "manual"}, Trigger.KUBECTL),
        ({"fraud-detection/training-trigger": "quality"}, Trigger.QUALITY),
        ({"fraud-detection/training-trigger": "later release"}, Trigger.SCHEDULE),
    ],
)
def test_trigger_is_seen_whoever_created_the_job(
    annotations: dict[str, str], trigger: Trigger
) -> None:
    metadata = {"name": "j", "uid": "u", "creationTimestamp": "2026-11-30T08:00:00Z"}
    found = read_job({"metadata": metadata | {"annotations": annotations}})
    assert (found.trigger, found.state) == (trigger, State.RUNNING)
    assert found.detail == "no pod runs yet"


def test_jobs_of_others_are_not_shown(served: tuple[ApiServer, KubernetesRunner, Path]) -> None:
    api, runner, _ = served
    mine = runner.start(ORDER, 0, [])
    metadata = {"name": "other", "uid": "u", "creationTimestamp": "2026-11-30T08:00:00Z"}
    api.objects[f"{JOBS}/other"] = {"metadata": metadata}
    assert [one.id for one in runner.list()] == [mine.id]


def test_log_is_that_of_the_newest_pod(served: tuple[ApiServer, KubernetesRunner, Path]) -> None:
    api, runner, _ = served
    started = runner.start(ORDER, 0, [])
    api.add_pod(started.id, "first attempt")
    api.add_pod(started.id, "".join(f"line {n}\n" for n in range(1000)))
    text = runner.log(started.id)
    assert text.splitlines() == [f"line {n}" for n in range(800, 1000)]
    api.add_pod(started.id, None)  # waits for its image
    assert runner.log(started.id) == ""


def test_token_is_read_again_after_the_kubelet_has_replaced_it(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, credentials = served
    assert runner.list() == []
    api.token = "second"
    with pytest.raises(TrainingsUnavailable, match="Unauthorized"):
        runner.list()
    (credentials / "token").write_text("second")
    assert runner.list() == []


@pytest.mark.parametrize(
    ("refusal", "words", "is_permanent"),
    [
        ((403, "jobs.batch is forbidden"), "Role and RoleBinding of k8s/base/training", True),
        ((500, "etcd is away"), "etcd is away", False),
        ((429, "too many requests"), "too many requests", False),
    ],
)
def test_refusal_of_the_api_server_is_explained(
    served: tuple[ApiServer, KubernetesRunner, Path],
    refusal: tuple[int, str],
    words: str,
    is_permanent: bool,
) -> None:
    api, runner, _ = served
    api.refusal = refusal
    for call in (runner.list, lambda: runner.start(ORDER, 0, []), lambda: runner.log("x")):
        with pytest.raises(TrainingsUnavailable, match=words) as error:
            call()
        assert error.value.is_permanent is is_permanent


def test_list_that_is_not_whole_starts_nothing(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, _ = served
    api.raw = b'{"metadata": {"continue": "next"}, "items": []}'
    with pytest.raises(TrainingsUnavailable, match="more than 500 Jobs"):
        runner.list()


def test_missing_cronjob_is_named_with_the_way_out(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, _ = served
    del api.objects[f"{CRONJOBS}/pipeline"]
    with pytest.raises(TrainingsUnavailable, match=r"CronJob pipeline .* TRAINING_CRONJOB"):
        runner.start(ORDER, 0, [])
    assert not [path for path in api.objects if path.startswith(JOBS)]
    assert runner.last_automatic() is None


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b'{"items": 3}', b'{"items": [{"metadata": {}}]}',
            b'{"items": [null]}', b'{"items": [{"metadata": {"ownerReferences": [1]}}]}']
)  # fmt: skip
def test_answer_that_is_not_from_an_api_server_is_a_clear_error(
    served: tuple[ApiServer, KubernetesRunner, Path], raw: bytes
) -> None:
    api, runner, _ = served
    api.raw = raw
    trainings = "not JSON|not a JSON object|cannot be read"
    if raw == b'{"items": [{"metadata": {}}]}':
        assert runner.list() == []  # not a Job of the CronJob
    else:
        with pytest.raises(TrainingsUnavailable, match=trainings):
            runner.list()
    with pytest.raises(TrainingsUnavailable, match=trainings):
        runner.start(ORDER, 0, [])


def test_job_that_changed_in_between_is_read_again_before_it_is_deleted(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, _ = served
    running = runner.start(ORDER, 0, [])
    api.races = [lambda: api.end(running.id)]
    with pytest.raises(NotCancellable, match="it has ended, and is succeeded"):
        runner.cancel(running, "ana", 0)
    assert runner.list()[0].state is State.SUCCEEDED


def test_job_is_being_deleted_until_its_pods_have_ended(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, _ = served
    first = runner.start(ORDER, 0, [])
    for is_new in (True, False):
        found = runner.cancel(first, "ana", 7)
        assert (found[0].is_running, found[0].detail, found[1]) == (True, DELETED, is_new)
    (listed,) = runner.list()
    assert (listed.state, listed.detail) == (State.RUNNING, DELETED)
    api.end_pods(first.id)
    (ended,) = runner.list()
    assert (ended.state, ended.ended_at) == (State.CANCELLED, 7)


def test_cooldown_is_noted_before_the_job_and_not_kept_if_there_is_none(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, _ = served
    first = runner.start(ORDER, 5, [])
    api.end(first.id)
    name = name_job(make_cronjob(), runner.list())
    seen = runner.list()
    # Another dashboard creates the Job of this name, after the list was read here.
    for trigger, last_id in ((Trigger.PERSON, first.id), (Trigger.QUALITY, name)):
        other = make_job(make_cronjob(), name, Order("why", trigger, "eve"))
        api.answer("POST", JOBS, "Bearer first", json.dumps(other).encode())
        with pytest.raises(AlreadyRunning, match="why"):
            runner.start(replace(ORDER, key=""), 6, seen)
        last = runner.last_automatic()
        assert last is not None
        assert last.id == last_id
        assert last.started_at != 6  # that of the other one, not of what was not started
        api.forget_job(name)


def test_config_map_that_somebody_else_changed_is_read_again(
    served: tuple[ApiServer, KubernetesRunner, Path],
) -> None:
    api, runner, _ = served
    other = Training("x", State.CANCELLED, 1, Trigger.PERSON, ended_at=2, token="x")

    def race() -> None:
        api.objects[CONFIG_MAP]["data"] = {
            "trainings.json": write_records(Records().with_cancelled(other))
        }
        api.objects[CONFIG_MAP]["metadata"]["resourceVersion"] = "raced"

    api.races = [race]
    started = runner.start(ORDER, 5, [])
    assert {one.id for one in runner.list()} == {"x", started.id}
    last = runner.last_automatic()
    assert last is not None
    assert last.id == started.id


def test_manifests_of_an_earlier_release_start_trainings_and_one_warning(
    served: tuple[ApiServer, KubernetesRunner, Path], caplog: pytest.LogCaptureFixture
) -> None:
    api, runner, _ = served
    del api.objects[CONFIG_MAP]
    started = runner.start(ORDER, 5, runner.list())
    assert runner.last_automatic() is None
    assert [one.id for one in runner.list()] == [started.id]
    assert runner.cancel(started, "ana", 6)[1]
    (warning,) = [one for one in caplog.messages if "only Jobs that still exist" in one]
    assert "Apply the ConfigMap trainings and the Role" in warning


def test_server_that_is_down_silent_or_slow_is_given_up(tmp_path: Path) -> None:
    with serve_api(tmp_path, ApiServer()) as (api, credentials):
        down, foreign = api.address, tmp_path / "none"
    with pytest.raises(ApiError, match="does not answer"):
        KubernetesApi(credentials, down, seconds=1).get("api")
    with pytest.raises(ApiError, match="No such file"):
        KubernetesApi(foreign, down).get("api")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = KubernetesApi(credentials, f"https://127.0.0.1:{port}", seconds=0.2)
        with pytest.raises(ApiError, match="timed out"):
            client.get("api")


def test_server_with_another_certificate_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with (
        serve_api(tmp_path / "a", ApiServer()) as (api, _),
        serve_api(tmp_path / "b", ApiServer()) as (_, others),
        pytest.raises(ApiError, match="certificate verify failed"),
    ):
        KubernetesApi(others, api.address).get("api")


def test_whole_response_has_one_deadline(tmp_path: Path) -> None:
    times = iter([0.0, *range(2, 100)])
    with serve_api(tmp_path, ApiServer()) as (api, credentials):
        client = KubernetesApi(credentials, api.address, seconds=1, clock=lambda: next(times))
        with pytest.raises(ApiError, match="no whole response within 1 s"):
            client.get("apis", "batch", "v1", "namespaces", "training", "jobs")
