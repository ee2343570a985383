"""What the trainer reads from the environment."""

from __future__ import annotations

from pydantic import Field

from stream_scorer.runtime.settings import LogSettings, StoreSettings


class TrainerSettings(StoreSettings, LogSettings):
    """Where training data comes from and where a run is reported; flags win over these."""

    train_transactions_uri: str | None = Field(
        None, description="transactions CSV to train on: a path, file:/// or s3://"
    )
    train_identity_uri: str | None = Field(
        None, description="identity CSV that goes with it: a path, file:/// or s3://"
    )
    pushgateway_url: str | None = Field(
        None, description="Prometheus Pushgateway that gets the metrics of a run"
    )
    mlflow_tracking_uri: str | None = Field(
        None, description="MLflow server that gets parameters and metrics of a run"
    )
