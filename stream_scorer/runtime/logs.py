"""Log lines: JSON for machines, short text for people."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from typing import Any

from stream_scorer.runtime.settings import LogSettings

EXTRA_FIELDS = ("request_id", "latency_ms", "transaction_count")
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields operators were promised."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._pod = os.environ.get("HOSTNAME") or socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record; anything passed as ``extra`` becomes a field."""
        millis = int(record.msecs)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "timestamp": f"{stamp}.{millis:03d}Z",
            "level": record.levelname,
            "service": self._service,
            "pod": self._pod,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class ConsoleFormatter(logging.Formatter):
    """``14:03:21Z INFO scorer: message key=value`` (UTC)."""

    converter = time.gmtime

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)sZ %(levelname)s {service}: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record, extras appended as ``key=value``."""
        extras = [f"{k}={v}" for k, v in vars(record).items() if k not in _STANDARD]
        return " ".join([super().format(record), *extras])


def configure_logging(service: str, settings: LogSettings) -> None:
    """Send every log line of this process to standard error, in the chosen format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(service) if settings.log_format == "json" else ConsoleFormatter(service)
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for noisy in ("botocore", "boto3", "urllib3", "numba", "httpx", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
