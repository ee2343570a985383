"""Optional: the run's parameters and metrics in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from stream_scorer.runtime.masking import mask_userinfo

log = logging.getLogger(__name__)


def track_run(uri: str, version: str, facts: Mapping[str, Any]) -> None:
    """Log a run to MLflow; only logs a warning if the package or the server is not available."""
    try:
        import mlflow
    except ImportError:
        log.warning(
            "MLFLOW_TRACKING_URI is set, but mlflow is not installed, so the run is not tracked: "
            "pip install mlflow"
        )
        return
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("fraud-trainer")
        with mlflow.start_run(run_name=version):
            mlflow.log_params(dict(_flat(facts["parameters"])))
            mlflow.log_metrics(
                {k: v for k, v in _flat(facts["metrics"]["test"]) if isinstance(v, int | float)}
            )
            mlflow.set_tag("model_version", version)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        log.warning("could not track the run in %s", mask_userinfo(f"{uri}: {error}"))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value
