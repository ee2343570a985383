"""The trainings that the settings select."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from dashboard.settings import DashboardSettings
from dashboard.trainings.kubernetes_api import CREDENTIALS, KubernetesApi
from dashboard.trainings.kubernetes_runner import KubernetesRunner
from dashboard.trainings.process_runner import ProcessRunner
from dashboard.trainings.training import Order, Runner, Training, TrainingsUnavailable
from dashboard.trainings.trainings import Trainings

log = logging.getLogger(__name__)


class NoRunner:
    """Trainings cannot be started here; ``why`` says so to whoever tries."""

    def __init__(self, why: str) -> None:
        self._why = why

    @property
    def where(self) -> str:
        """Where trainings run, in words."""
        return "nowhere"

    def list(self) -> list[Training]:
        """No trainings."""
        return []

    def start(self, order: Order, now: int, seen: Sequence[Training]) -> Training:  # noqa: ARG002 - required by the port
        """Refuse."""
        raise TrainingsUnavailable(self._why, is_permanent=True)

    def last_automatic(self) -> Training | None:
        """None."""
        return None

    def cancel(self, training: Training, by: str, now: int) -> tuple[Training, bool]:  # noqa: ARG002 - required by the port
        """Refuse."""
        raise TrainingsUnavailable(self._why, is_permanent=True)

    def log(self, training_id: str) -> str:  # noqa: ARG002 - required by the port
        """No log."""
        return ""


def open_trainings(settings: DashboardSettings, credentials: Path = CREDENTIALS) -> Trainings:
    """The trainings of this dashboard. Nothing is connected or started yet."""
    return Trainings(_choose_runner(settings, credentials), settings.training_cooldown_hours)


def _choose_runner(settings: DashboardSettings, credentials: Path) -> Runner:
    chosen = settings.training_runner
    if chosen == "auto":
        chosen = "kubernetes" if (credentials / "token").exists() else "process"
    if chosen == "none":
        return NoRunner("trainings are turned off: TRAINING_RUNNER=none")
    if chosen == "kubernetes":
        namespace, _, cronjob = settings.training_cronjob.partition("/")
        return KubernetesRunner(KubernetesApi(credentials), namespace, cronjob)
    command = settings.training_command
    if command.split()[0] == "fraud-trainer" and importlib.util.find_spec("trainer") is None:
        return NoRunner(
            "this installation has no fraud-trainer: install stream-scorer[trainer], set "
            "TRAINING_COMMAND, or let TRAINING_RUNNER=kubernetes create a Job"
        )
    return ProcessRunner(settings.dashboard_state_dir / "trainings", command, dict(os.environ))
