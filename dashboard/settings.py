"""The settings of the dashboard, read from the environment."""

from __future__ import annotations

import ipaddress
import shlex
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from stream_scorer.runtime.settings import LogSettings, StoreSettings, TracingSettings
from stream_scorer.settings import GroupSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class DashboardSettings(GroupSettings, StoreSettings, LogSettings, TracingSettings):
    """All settings of the dashboard process."""

    dashboard_host: str = Field("127.0.0.1", description="address to listen on")
    dashboard_port: int = Field(
        8000, ge=0, le=65535, description="port to listen on; 0 picks a free port"
    )
    dashboard_auth: Literal["none", "token", "proxy"] = Field(
        "none", description="authentication: none (loopback only), token or proxy"
    )
    dashboard_insecure: bool = Field(
        False, description="allow DASHBOARD_AUTH=none on an address that other machines can reach"
    )
    dashboard_tokens_file: Path | None = Field(
        None,
        description="with token: file with lines name:role:sha256 (see fraud-dashboard token)",
    )
    dashboard_proxy_addresses: str = Field(
        "",
        description="addresses or networks of trusted proxies: with proxy, they name the user; "
        "with token, they name the client address to which failed logins are charged",
    )
    dashboard_proxy_header: str = Field(
        "X-Forwarded-User", description="with proxy: the header that names the user"
    )
    dashboard_proxy_role_header: str = Field(
        "",
        description="with proxy: the header that names the user's role, which the proxy must set "
        "or remove in every request; without it the user is a viewer (default: no header, and "
        "every user is an analyst)",
    )
    dashboard_state_dir: Path = Field(
        Path(".cache/stream-scorer/dashboard"),
        description="folder for caches, which are safe to delete, and for outbox.sqlite3, which "
        "holds decisions until they are on their topic",
    )
    dashboard_seal_key_file: Path | None = Field(
        None,
        description="file with the secret that signs sessions and list cursors; replicas behind "
        "one address must share it (default: a generated key in DASHBOARD_STATE_DIR)",
    )
    dashboard_keep_flags: int = Field(
        100_000, ge=1000, description="number of flagged transactions to keep; the oldest go first"
    )
    export_enabled: bool = Field(
        True, description="allow analysts to export the list as CSV or JSON lines"
    )
    dashboard_predict_rows_per_second: int = Field(
        100_000,
        ge=0,
        description="rate limit of /predict and /check per user or address; an explanation counts "
        "as the rows that could be scored in its time; 0: no limit",
    )
    dashboard_actions_per_minute: int = Field(
        600,
        ge=0,
        description="rate limit of claims, decisions, snoozes, saved views and promotions per user "
        "or address; each decision of a bulk counts, and an export counts as 60; 0: no limit",
    )
    dashboard_failed_logins_per_minute: int = Field(
        10,
        ge=0,
        description="wrong tokens that an address may send a minute; a valid one of 32 characters "
        "or more is accepted in any case; 0: no limit",
    )
    dashboard_masked_fields: str = Field(
        "card1,card2,card3,card4,card5,card6,addr1,addr2,P_emaildomain,R_emaildomain",
        description="fields of input records that viewers do not see, whatever their case, with "
        "the record's key and headers; empty: none",
    )
    dashboard_currency: str = Field(
        "USD", pattern="^[A-Z]{3}$", description="currency of the amounts, as ISO 4217 names it"
    )
    predict_history: Literal["none", "snapshot", "follow"] = Field(
        "snapshot",
        description="card histories in /predict: none, snapshot (as of the newest snapshots, "
        "minutes old) or follow (also reads the inputs since then)",
    )
    predict_history_max_bytes: int = Field(
        1_073_741_824, ge=0, description="memory for card histories; what does not fit is not used"
    )

    mlflow_tracking_uri: str | None = Field(
        None,
        description="http(s) URL of an MLflow server whose alias champion follows promotions",
    )
    mlflow_tracking_username: str | None = Field(None, description="user name for that server")
    mlflow_tracking_password: SecretStr | None = Field(None, description="password for it")
    mlflow_tracking_token: SecretStr | None = Field(
        None, description="token for it, in place of user name and password"
    )

    training_runner: Literal["auto", "kubernetes", "process", "none"] = Field(
        "auto",
        description="how a requested training runs: kubernetes (a Job), process (on this machine), "
        "none (not at all), or auto (kubernetes in a pod with a service account's token)",
    )
    training_cronjob: str = Field(
        "fraud-detection-training/training-pipeline",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,50}[a-z0-9])?$",
        description="with kubernetes: the CronJob that Jobs are made from, as NAMESPACE/NAME",
    )
    training_command: str = Field(
        "fraud-trainer train", description="with process: the command of a training"
    )
    training_cooldown_hours: float = Field(
        24.0,
        ge=0,
        le=8760,
        description="hours between two trainings that drift or falling quality starts; 0: no limit",
    )
    training_webhook_token_file: Path | None = Field(
        None,
        description="file with lines name:webhook:sha256 of tokens that may request trainings and "
        "nothing else (see fraud-dashboard token --role webhook)",
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_loopback(self.dashboard_host)

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """``dashboard_proxy_addresses`` as networks."""
        parts = self.dashboard_proxy_addresses.split(",")
        return tuple(ipaddress.ip_network(part.strip()) for part in parts if part.strip())

    @property
    def masked_fields(self) -> tuple[str, ...]:
        """``dashboard_masked_fields`` by name."""
        parts = self.dashboard_masked_fields.split(",")
        return tuple(part.strip() for part in parts if part.strip())

    @field_validator("dashboard_proxy_addresses")
    @classmethod
    def _networks(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            try:
                ipaddress.ip_network(part)
            except ValueError as error:
                raise ValueError(f"{part!r} is not an address or network: {error}") from None
        return value

    @field_validator("training_command")
    @classmethod
    def _command(cls, value: str) -> str:
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a command line: {error}") from None
        if not words:
            raise ValueError("the command is empty")
        return value

    @model_validator(mode="after")
    def _check_auth_settings(self) -> DashboardSettings:
        if self.dashboard_auth == "none" and not (self.is_loopback or self.dashboard_insecure):
            raise ValueError(
                f"DASHBOARD_HOST={self.dashboard_host} can be reached from other machines, and "
                "DASHBOARD_AUTH=none does not authenticate: set DASHBOARD_AUTH=token or proxy, "
                "listen on 127.0.0.1, or pass --insecure"
            )
        if self.dashboard_auth == "token" and self.dashboard_tokens_file is None:
            raise ValueError(
                "DASHBOARD_AUTH=token needs DASHBOARD_TOKENS_FILE; "
                "`fraud-dashboard token NAME` prints a line for it"
            )
        if self.dashboard_auth == "proxy" and not self.dashboard_proxy_addresses.strip():
            raise ValueError(
                "DASHBOARD_AUTH=proxy needs DASHBOARD_PROXY_ADDRESSES: "
                "the addresses of the trusted proxies"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a loopback address of this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
