"""The trainer's settings from the environment."""

from __future__ import annotations

from pydantic import Field

from stream_scorer.runtime.settings import LogSettings, StoreSettings


class TrainerSettings(StoreSettings, LogSettings):
    """Where training data comes from and where a run is reported; flags take precedence."""

    train_transactions_uri: str | None = Field(
        None,
        description="transactions for training: CSV, gzip, zip or Parquet; a path, file:/// or s3://",
    )
    train_identity_uri: str | None = Field(
        None, description="identities of these transactions, in the same formats"
    )
    pushgateway_url: str | None = Field(
        None, description="URL of a Prometheus Pushgateway for the metrics of a run"
    )
    mlflow_tracking_uri: str | None = Field(
        None, description="URL of an MLflow server that tracks runs and published versions"
    )
    training_id: str | None = Field(
        None,
        description="id of the run, recorded with its version; set by dashboard or CronJob",
    )
    training_reason: str | None = Field(
        None, description="why this run was started, recorded with the version; --reason goes first"
    )
    training_trigger: str | None = Field(
        None,
        description="what started this run, such as person or drift; recorded with the version",
    )
    training_by: str | None = Field(
        None, description="who requested this run, recorded with the version"
    )
    fraud_trainer_user: str | None = Field(
        None,
        description="name recorded with a forced promotion; default: the operating system's user",
    )
