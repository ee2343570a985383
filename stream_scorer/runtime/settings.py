"""Settings from the environment: one class per concern, combined by each process.

Every documented variable is a field here, with its name in lower case. A process combines the
classes it needs by inheritance and calls :func:`load_settings` once, when it starts. Nothing else
reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stream_scorer.errors import SettingsError
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.names import check_bucket, check_server, check_topic


class _Environment(BaseSettings):
    """Reads fields from variables of the same name; an empty variable is treated as unset."""

    model_config = SettingsConfigDict(
        env_prefix="", env_ignore_empty=True, case_sensitive=False, extra="ignore", frozen=True
    )


class LogSettings(_Environment):
    """How the process logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level to log: DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["json", "console"] = Field(
        "console", description="log format: json (one object per line) or console"
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class TracingSettings(_Environment):
    """Where traces go; OpenTelemetry reads its other ``OTEL_`` variables itself."""

    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="OTLP/HTTP endpoint for traces (needs the extra 'tracing')"
    )


class KafkaSettings(_Environment):
    """How to reach Kafka."""

    kafka_bootstrap_servers: str = Field(
        "localhost:9092", description="Kafka brokers, as host:port separated by commas"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_config_file: Path | None = Field(
        None, description="file of further librdkafka properties (key=value lines)"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user name")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ssl_ca_location: Path | None = Field(None, description="file of CA certificates (PEM)")

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        for server in value.split(","):
            check_server(server.strip())
        return value

    @field_validator("kafka_ssl_ca_location", "kafka_config_file")
    @classmethod
    def _exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"file not found: {value}")
        return value

    @field_validator("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    @classmethod
    def _sasl_is_whole(cls, value: Any, info: ValidationInfo) -> Any:
        # Validated per field, not per model, so that it is reported together with other faults.
        protocol = str(info.data.get("kafka_security_protocol"))
        has_file = info.data.get("kafka_config_file", "a faulty one") is not None
        if value is None and protocol.startswith("SASL") and not has_file:
            raise ValueError(f"required with KAFKA_SECURITY_PROTOCOL={protocol}")
        return value


class TopicSettings(_Environment):
    """The topics of the system."""

    input_topic: str = Field("transactions", description="topic to read transactions from")
    output_topic: str = Field("fraud-scores", description="topic to write scores to")
    dlq_topic: str = Field("transactions-dlq", description="topic to write dead letters to")
    labels_topic: str = Field("fraud-labels", description="topic of decisions and chargebacks")
    audit_topic: str = Field("fraud-audit", description="topic of what analysts do")
    shadow_topic: str = Field("fraud-scores-shadow", description="topic of the challenger's scores")

    @field_validator(
        "input_topic", "output_topic", "dlq_topic", "labels_topic", "audit_topic", "shadow_topic"
    )
    @classmethod
    def _can_be_a_topic(cls, value: str) -> str:
        return check_topic(value)

    @field_validator("output_topic", "dlq_topic", "labels_topic", "audit_topic", "shadow_topic")
    @classmethod
    def _differs(cls, value: str, info: ValidationInfo) -> str:
        # Scores or dead letters on the input topic would be read as transactions, in a loop.
        for name, topic in info.data.items():
            if name in TopicSettings.model_fields and topic == value:
                raise ValueError(f"{name.upper()} has the same topic; each needs its own")
        return value


class RegistrySettings(_Environment):
    """The Schema Registry, if there is one."""

    schema_registry_url: str | None = Field(
        None, description="Schema Registry URL; if unset, scores use single-object encoding"
    )
    schema_registry_basic_auth_user_info: SecretStr | None = Field(
        None, description="credentials for the Schema Registry, as user:password"
    )

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_names_no_user(cls, value: str | None) -> str | None:
        return _without_userinfo(value, "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO")


_AWS_KEYS: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class StoreSettings(_Environment):
    """Where bundles are stored."""

    model_store_uri: str = Field(
        "",
        description="artifact store, file:///dir or s3://bucket/prefix; if unset and without "
        "S3_BUCKET, the folder .cache/stream-scorer/store",
    )
    s3_bucket: str | None = Field(
        None, description="bucket to use if MODEL_STORE_URI is unset (s3://$S3_BUCKET)"
    )
    model_cache_dir: Path = Field(
        Path(".cache/stream-scorer/models"),
        description="folder for the last good bundle, used to start while the store is down",
    )
    model_poll_seconds: float = Field(
        15.0, gt=0, description="seconds between checks for a newly promoted version"
    )
    model_trusted_keys: str | None = Field(
        None,
        description="Ed25519 public keys (base64, separated by commas); if set, bundles must be "
        "signed by one of them",
    )
    model_signing_key_file: Path | None = Field(
        None, description="Ed25519 private key file (PEM) with which the trainer signs"
    )
    aws_endpoint_url_s3: str | None = Field(None, description="S3 endpoint, if not AWS")
    aws_region: str | None = Field(None, description="S3 region, if AWS_DEFAULT_REGION is unset")
    aws_default_region: str | None = Field(None, description="S3 region")

    @property
    def store_uri(self) -> str:
        """The store's URI, from ``MODEL_STORE_URI``, ``S3_BUCKET`` or the local default."""
        if self.model_store_uri:
            return self.model_store_uri
        if self.s3_bucket:
            return f"s3://{self.s3_bucket}"
        return Path(".cache/stream-scorer/store").absolute().as_uri()

    @property
    def region(self) -> str | None:
        """The S3 region, from either of its two variables."""
        return self.aws_default_region or self.aws_region

    @field_validator("model_store_uri")
    @classmethod
    def _scheme(cls, value: str) -> str:
        if value and not value.startswith(("file:///", "s3://")):
            raise ValueError(f"{value!r} is neither file:///dir nor s3://bucket/prefix")
        if value.startswith("s3://"):
            bucket = value.removeprefix("s3://").partition("/")[0]
            _without_userinfo(bucket, _AWS_KEYS)
            check_bucket(bucket)
        return value

    @field_validator("s3_bucket")
    @classmethod
    def _can_be_a_bucket(cls, value: str | None) -> str | None:
        return value if value is None or "@" in value else check_bucket(value)

    @field_validator("s3_bucket", "aws_endpoint_url_s3")
    @classmethod
    def _store_names_no_user(cls, value: str | None) -> str | None:
        return _without_userinfo(value, _AWS_KEYS)


class HistorySettings(_Environment):
    """Card histories, which scorers keep if the promoted bundle has history features."""

    history_replay_max: int = Field(
        1_500_000,
        ge=1,
        description="a scorer writes snapshots so often that, if it is killed, at most this many "
        "inputs are read again",
    )
    history_snapshot_seconds: float = Field(
        600.0,
        gt=0,
        description="a partition with new inputs gets a snapshot at least this often",
    )
    history_keep_days: int = Field(
        35,
        ge=1,
        le=36_500,
        description="the first snapshot of each day is kept for this many days, so that audit and "
        "replay can begin there",
    )
    history_cache_dir: Path = Field(
        Path(".cache/stream-scorer/history"),
        description="folder for the newest snapshots, used to start while the store is down",
    )
    history_on_gap: Literal["stop", "continue"] = Field(
        "stop",
        description="if inputs after the newest snapshot were deleted: stop (the partition waits "
        "for an operator) or continue (a new era begins with what is known)",
    )
    history_max_keys: int = Field(
        1_000_000,
        ge=1,
        le=100_000_000,
        description="largest number of keys of a kind in a partition, for eras that begin; the "
        "longest unused are forgotten",
    )
    history_compression: Literal["zlib", "none"] = Field(
        "zlib", description="compression of snapshots: zlib or none"
    )
    history_restore_seconds: float = Field(
        300.0,
        gt=0,
        description="unready if restoring the history of a partition takes longer than this",
    )


def _without_userinfo(value: str | None, variables: str) -> str | None:
    # Messages and logs show addresses, and so do third-party clients.
    if value is not None and "@" in value:
        raise ValueError(f"an address must not contain credentials: put them into {variables}")
    return value


_NEVER_BLANK: Final = {
    "model_trusted_keys": "set, but blank: that would accept unsigned models. Give the keys, or "
    "unset it if models are not signed",
    "model_signing_key_file": "set, but blank: that would publish unsigned models. Give the file, "
    "or unset it if models are not signed",
}
"""Settings that protect something. Blank counts as unset elsewhere; here it must be deliberate."""

SettingsT = TypeVar("SettingsT", bound=_Environment)


def load_settings(cls: type[SettingsT], overrides: Mapping[str, Any] | None = None) -> SettingsT:
    """Read the environment into ``cls``; ``overrides`` (from flags) win, except those of None.

    Raises:
        SettingsError: settings are invalid; one message lists every fault, with secrets masked.
    """
    given = {k: v for k, v in (overrides or {}).items() if v is not None}
    faults = [*_blanks(cls, os.environ)]
    try:
        settings = cls(**given)
    except ValidationError as error:
        faults += _faults(cls, error)
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _blanks(cls: type[_Environment], environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        field = name.lower()
        if field in cls.model_fields and field in _NEVER_BLANK and not value.strip():
            yield f"{name}: {_NEVER_BLANK[field]}"


def _faults(cls: type[_Environment], error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        message = mask_userinfo(fault["msg"].removeprefix("Value error, "))
        if not name:
            yield message
            continue
        field = cls.model_fields[name]
        secret = "SecretStr" in str(field.annotation)
        given = fault["input"]
        secret = secret or "@" in str(given)  # it may contain a password
        shown = "" if given is None else "=****" if secret else f"={given!r}"
        yield f"{name.upper()}{shown}: {message} ({field.description})"


def describe_settings(cls: type[_Environment]) -> str:
    """The environment variables a process reads, one per line, for ``--help``."""
    lines = ["environment variables:"]
    for name, field in cls.model_fields.items():
        default = "" if field.default in (None, "") else f" (default {field.default})"
        lines.append(f"  {name.upper():<38} {field.description}{default}")
    return "\n".join(lines)
