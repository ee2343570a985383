"""The settings of the scorer process and its commands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream_scorer.runtime.settings import (
    KafkaSettings,
    LogSettings,
    RegistrySettings,
    StoreSettings,
    TopicSettings,
    TracingSettings,
)


class GroupSettings(KafkaSettings, TopicSettings, RegistrySettings):
    """Topics, and the group that scores them."""

    kafka_group_id: str = Field("stream-scorer", description="the scorers' consumer group")


class ScorerSettings(GroupSettings, StoreSettings, LogSettings, TracingSettings):
    """Everything the scorer process reads."""

    kafka_group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="classic, or consumer (KIP-848, brokers from 4.0)"
    )
    kafka_session_timeout_ms: int = Field(
        15_000, ge=1_000, description="a silent member loses its partitions after this"
    )
    kafka_max_poll_interval_ms: int = Field(
        60_000, ge=5_000, description="a member that does not poll for this long is replaced"
    )
    kafka_transaction_timeout_ms: int = Field(
        15_000, ge=1_000, description="a killed member's transaction blocks readers this long"
    )
    batch_max_records: int = Field(2_000, ge=1, le=100_000, description="records in a batch")
    batch_max_wait_ms: int = Field(
        500, ge=1, description="an idle poll returns after this; a record ends the wait at once"
    )
    rejection_max_run: int = Field(
        1_000, ge=1, description="more rejected records in a row than this stop the scorers"
    )
    rejection_max_share: float = Field(
        0.5, gt=0, le=1, description="a larger share of rejected records stops the scorers"
    )
    partition_stuck_seconds: float = Field(
        120.0,
        gt=0,
        description="not ready while a partition with records to read did not move for this long",
    )
    model_guard: bool = Field(
        True, description="fall back to the version before when a new one misbehaves"
    )
    model_guard_seconds: float = Field(
        600.0, ge=0, description="a new version is on probation for this long from its first score"
    )
    model_guard_min_rows: int = Field(
        2_000, ge=100, description="and for so many rows; fewer decide on nothing but errors"
    )
    model_guard_max_error_share: float = Field(
        0.02, gt=0, lt=1, description="a larger share of rows it cannot score rejects it"
    )
    model_guard_max_psi: float = Field(
        0.5, gt=0, description="a larger stability index of its scores (PSI) rejects it"
    )
    model_guard_max_flag_ratio: float = Field(
        5.0, gt=1, description="flagging so many times more or less than on its test rows does too"
    )
    metrics_port: int = Field(9100, ge=0, le=65535, description="/metrics, /livez and /readyz")
    metrics_host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104
