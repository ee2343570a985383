"""The settings of the scorer process and its commands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream_scorer.runtime.settings import (
    HistorySettings,
    KafkaSettings,
    LogSettings,
    RegistrySettings,
    StoreSettings,
    TopicSettings,
    TracingSettings,
)


class GroupSettings(KafkaSettings, TopicSettings, RegistrySettings):
    """The topics, and the consumer group of the scorers."""

    kafka_group_id: str = Field("stream-scorer", description="consumer group of the scorers")


class RescoringSettings(GroupSettings, StoreSettings):
    """The topics, the scorers' group, and the store of the models that scored."""


class QualitySettings(RescoringSettings):
    """What live quality reads, and where it pushes its metrics."""

    pushgateway_url: str | None = Field(
        None, description="URL of a Prometheus Pushgateway for the metrics of a run"
    )


class ScorerSettings(GroupSettings, StoreSettings, HistorySettings, LogSettings, TracingSettings):
    """All settings of the scorer process."""

    kafka_group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="classic, or consumer (KIP-848, needs brokers from 4.0)"
    )
    kafka_session_timeout_ms: int = Field(
        15_000,
        ge=1_000,
        description="a member that sends no heartbeat for this long loses its partitions",
    )
    kafka_max_poll_interval_ms: int = Field(
        60_000,
        ge=5_000,
        description="a member that does not poll for this long loses its partitions",
    )
    kafka_transaction_timeout_ms: int = Field(
        15_000,
        ge=1_000,
        description="the open transaction of a killed member blocks readers for this long",
    )
    batch_max_records: int = Field(
        2_000, ge=1, le=100_000, description="largest number of records in a batch"
    )
    batch_max_wait_ms: int = Field(
        500,
        ge=1,
        description="an idle poll returns after this time; a record ends the wait at once",
    )
    rejection_max_run: int = Field(
        1_000, ge=1, description="the scorers stop after more rejected records in a row than this"
    )
    rejection_max_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="the scorers stop if a larger share of recent records than this is rejected",
    )
    review_sample_share: float = Field(
        0.0,
        ge=0,
        le=0.01,  # as schemas.scores.sampling.MAX_SHARE
        description="this share of the unflagged transactions is chosen at random for review",
    )
    partition_stuck_seconds: float = Field(
        120.0,
        gt=0,
        description="unready if a partition with records to read makes no progress for this long",
    )
    model_guard: bool = Field(
        True, description="roll back to the previous version if a new one fails its guard"
    )
    model_guard_seconds: float = Field(
        600.0,
        ge=0,
        description="a new version is on probation for at least this long after its first score",
    )
    model_guard_min_rows: int = Field(
        2_000,
        ge=100,
        description="and for at least this many rows; with fewer, only errors can reject it. "
        "The limits have what chance adds to so few rows",
    )
    model_guard_max_error_share: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="a version is rejected if it cannot score a larger share of rows than this",
    )
    model_guard_max_psi: float = Field(
        0.5,
        gt=0,
        description="a version is rejected if the stability index (PSI) of its scores is larger",
    )
    model_guard_max_flag_ratio: float = Field(
        5.0,
        gt=1,
        description="a version is rejected if it flags this many times more or fewer rows than "
        "it did on its test rows",
    )
    shadow_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the transactions that the challenger scores too; 0: none",
    )
    shadow_spare_cpu_only: bool = Field(
        True,
        description="the challenger runs only while a processor is free; false: it takes its part",
    )
    metrics_port: int = Field(
        9100, ge=0, le=65535, description="port of /metrics, /livez and /readyz"
    )
    metrics_host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104
