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
)


class GroupSettings(KafkaSettings, TopicSettings, RegistrySettings):
    """Topics, and the group that scores them."""

    kafka_group_id: str = Field("stream-scorer", description="the scorers' consumer group")


class ScorerSettings(GroupSettings, StoreSettings, LogSettings):
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
        1_000, ge=1, description="more rejected records in a row than this stop the scorer"
    )
    rejection_max_share: float = Field(
        0.5, gt=0, le=1, description="a larger share of rejected records stops the scorer"
    )
    metrics_port: int = Field(9100, ge=0, le=65535, description="/metrics, /livez and /readyz")
    metrics_host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104
