"""Finds mistyped environment variables: they have no effect, so nothing else would name them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Final

_LIKENESS: Final = 0.85
"""Of two names: one character too many, too few or changed gives more, another word gives less."""

_OF_SERVICES: Final = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_.*)")
"""Kubernetes sets these for each Service of a namespace: ``KAFKA_BOOTSTRAP_SERVICE_PORT``."""

VARIABLES: Final = frozenset(
    {
        "AUDIT_TOPIC",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "BATCH_MAX_RECORDS",
        "BATCH_MAX_WAIT_MS",
        "DASHBOARD_ACTIONS_PER_MINUTE",
        "DASHBOARD_AUTH",
        "DASHBOARD_CURRENCY",
        "DASHBOARD_FAILED_LOGINS_PER_MINUTE",
        "DASHBOARD_HOST",
        "DASHBOARD_INSECURE",
        "DASHBOARD_KEEP_FLAGS",
        "DASHBOARD_MASKED_FIELDS",
        "DASHBOARD_PORT",
        "DASHBOARD_PREDICT_ROWS_PER_SECOND",
        "DASHBOARD_PROXY_ADDRESSES",
        "DASHBOARD_PROXY_HEADER",
        "DASHBOARD_PROXY_ROLE_HEADER",
        "DASHBOARD_SEAL_KEY_FILE",
        "DASHBOARD_STATE_DIR",
        "DASHBOARD_TOKENS_FILE",
        "DLQ_TOPIC",
        "EXPORT_ENABLED",
        "FRAUD_TRAINER_USER",
        "HISTORY_CACHE_DIR",
        "HISTORY_COMPRESSION",
        "HISTORY_KEEP_DAYS",
        "HISTORY_MAX_KEYS",
        "HISTORY_ON_GAP",
        "HISTORY_REPLAY_MAX",
        "HISTORY_RESTORE_SECONDS",
        "HISTORY_SNAPSHOT_SECONDS",
        "INPUT_TOPIC",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_CONFIG_FILE",
        "KAFKA_GROUP_ID",
        "KAFKA_GROUP_PROTOCOL",
        "KAFKA_MAX_POLL_INTERVAL_MS",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_PASSWORD",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SECURITY_PROTOCOL",
        "KAFKA_SESSION_TIMEOUT_MS",
        "KAFKA_SSL_CA_LOCATION",
        "KAFKA_TRANSACTION_TIMEOUT_MS",
        "LABELS_TOPIC",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "METRICS_HOST",
        "METRICS_PORT",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MODEL_CACHE_DIR",
        "MODEL_GUARD",
        "MODEL_GUARD_MAX_ERROR_SHARE",
        "MODEL_GUARD_MAX_FLAG_RATIO",
        "MODEL_GUARD_MAX_PSI",
        "MODEL_GUARD_MIN_ROWS",
        "MODEL_GUARD_SECONDS",
        "MODEL_POLL_SECONDS",
        "MODEL_SIGNING_KEY_FILE",
        "MODEL_STORE_URI",
        "MODEL_TRUSTED_KEYS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OUTPUT_TOPIC",
        "PARTITION_STUCK_SECONDS",
        "PREDICT_HISTORY",
        "PREDICT_HISTORY_MAX_BYTES",
        "PUSHGATEWAY_URL",
        "REJECTION_MAX_RUN",
        "REJECTION_MAX_SHARE",
        "REVIEW_SAMPLE_SHARE",
        "S3_BUCKET",
        "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO",
        "SCHEMA_REGISTRY_URL",
        "SHADOW_SHARE",
        "SHADOW_SPARE_CPU_ONLY",
        "SHADOW_TOPIC",
        "STREAM_SCORER_CACHE",
        "TRAIN_IDENTITY_URI",
        "TRAIN_TRANSACTIONS_URI",
        "TRAINING_BY",
        "TRAINING_COMMAND",
        "TRAINING_COOLDOWN_HOURS",
        "TRAINING_CRONJOB",
        "TRAINING_ID",
        "TRAINING_REASON",
        "TRAINING_RUNNER",
        "TRAINING_TRIGGER",
        "TRAINING_WEBHOOK_TOKEN_FILE",
    }
)
"""What any of the processes reads: each may run in an environment that several share."""

_OF_OTHERS: Final = ("AWS_", "OTEL_", "MLFLOW_")
"""Prefixes of variables that libraries define, far more than we read."""


def find_mistyped(given: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each given name that no process reads but resembles one that is read, and that name."""
    known = sorted(VARIABLES)
    for name in sorted(given):
        upper = name.upper()  # as the settings, which are read in any case
        if upper in VARIABLES or upper.startswith(_OF_OTHERS) or _OF_SERVICES.fullmatch(upper):
            continue
        if nearest := difflib.get_close_matches(upper, known, n=1, cutoff=_LIKENESS):
            yield name, nearest[0]
