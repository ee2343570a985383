"""The OpenAPI schema of the operations."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class CheckModel(BaseModel):
    """One check."""

    name: str
    state: Literal["ok", "warn", "bad", "unknown"]
    text: str
    since: int | None = Field(description="epoch milliseconds")


class PartitionBacklogModel(BaseModel):
    """The backlog of one partition of the input."""

    partition: int
    committed: int | None = Field(description="next offset of the scorers' group; null: none yet")
    end: int
    waiting: int = Field(description="at most: offsets of transaction markers count")


class BacklogModel(BaseModel):
    """Records of the input that the scorers have not committed yet."""

    topic: str
    group: str
    waiting: int | None
    partitions: list[PartitionBacklogModel]
    history: list[tuple[int, int]] = Field(description="epoch milliseconds and records, 1 h")
    as_of: int | None
    problem: str | None
    since: int | None


class ThroughputModel(BaseModel):
    """Scores on the topic."""

    scored_per_second: float
    flagged_per_second: float
    minutes: list[tuple[int, int, int]] = Field(description="epoch ms, scored, flagged; 1 h")


class PercentilesModel(BaseModel):
    """Delays of the last hour."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class DelaysModel(BaseModel):
    """Delays by leg of the way. Null where nothing was measured."""

    event_to_score: PercentilesModel | None
    score_to_dashboard: PercentilesModel | None
    event_to_dashboard: PercentilesModel | None


class DeadLetterModel(BaseModel):
    """One dead letter, without its content."""

    place: str = Field(description="partition-offset on the dead letter topic")
    time: int
    stage: str
    reason: str
    input: str
    value_bytes: int | None


class DeadLettersModel(BaseModel):
    """The newest dead letters."""

    records: int | None = Field(description="on the topic, at most; null if it does not exist")
    newest: list[DeadLetterModel]
    as_of: int | None
    problem: str | None
    since: int | None


class PartitionVersionModel(BaseModel):
    """The version that scores a partition now, and those before it."""

    partition: int
    version: str
    since: int
    last: int
    before: list[dict[str, Any]]
    is_promoted: bool


class VersionsModel(BaseModel):
    """Versions on the stream."""

    promoted: str | None
    live: list[dict[str, Any]]
    partitions: list[PartitionVersionModel]
    days: list[dict[str, Any]]


class UnreadableModel(BaseModel):
    """A score record that could not be read."""

    place: str = Field(description="topic[partition]@offset")
    at: int = Field(description="when this dashboard read it, epoch milliseconds")
    reason: str
    look: str = Field(description="a command that shows its bytes")


class UnreadablesModel(BaseModel):
    """Score records that could not be read. They are on the scores topic, and no dead letters."""

    records: int
    topic: str
    newest: list[UnreadableModel] = Field(description="the last 20 since the start")


class OperationsModel(BaseModel):
    """The state of scoring and of this dashboard."""

    now: int
    checks: list[CheckModel]
    backlog: BacklogModel
    throughput: ThroughputModel
    delays: DelaysModel
    dead_letters: DeadLettersModel
    versions: VersionsModel
    drift: dict[str, Any] | None = Field(
        description="population stability index of the scores of the last hour; null without a "
        "reference of the version that scores"
    )
    unreadable: UnreadablesModel
    desk: dict[str, Any] = Field(description="streams, dropped rows and lag of this dashboard")
