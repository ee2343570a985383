"""The schedule, retries and resources of the training."""

from __future__ import annotations

import pytest

from dashboard.trainings.training import REFUSED_CODE
from tests.k8s.support.rendering import VARIANTS, all_containers, render, select
from trainer.commands.console import REFUSED, WRONG_USAGE
from trainer.commands.parser import build_parser

pytestmark = pytest.mark.parametrize("variant", VARIANTS)


def test_training_runs_on_sunday_at_two_in_kolkata_without_overlap(variant: str) -> None:
    spec = select(render(variant), "CronJob", "training-pipeline")["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 2 * * 0", "Asia/Kolkata")
    assert spec["concurrencyPolicy"] == "Forbid"


def test_failed_training_is_retried_twice_within_four_hours(variant: str) -> None:
    job = select(render(variant), "CronJob", "training-pipeline")["spec"]["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (2, 14400)
    # A podFailurePolicy is refused with any other restart policy.
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    (container,) = job["template"]["spec"]["containers"]
    named = [rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"][:1]]
    assert named == [container["name"]]
    # What would end the same way again, or has trained, is not repeated.
    codes = job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    assert codes == [WRONG_USAGE, REFUSED]
    # kube-state-metrics would count a Job that ends with REFUSED among the failed ones.
    assert build_parser().parse_args(container["args"][1:]).refused_is_success
    assert REFUSED == REFUSED_CODE  # the dashboard knows it from a failure


def test_temporary_files_go_to_bounded_scratch_space(variant: str) -> None:
    item = select(render(variant), "CronJob", "training-pipeline")
    pod = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = all_containers(item)
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert env["TMPDIR"] in mounts
    assert "sizeLimit" in volumes[mounts["/scratch"]]["emptyDir"]


def test_resources_are_enough_for_the_full_data(variant: str) -> None:
    (container,) = all_containers(select(render(variant), "CronJob", "training-pipeline"))
    resources = container["resources"]
    if variant == "overlays/local":  # trains on synthetic rows instead
        assert "--synthetic" in container["args"]
        return
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == ("2", "4")
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("8Gi", "16Gi")
