"""Log formats: JSON for machines, short text for people."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from typing import Any

from stream_scorer.runtime.settings import LogSettings
from stream_scorer.runtime.variables import find_mistyped

log = logging.getLogger(__name__)

_UNSEEN = (
    0x61C,  # this and the next two ranges change the direction of the text after them
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),  # the first two are line separators
    *range(0x2060, 0x2070),
    0xFEFF,
)
_ESCAPES = (
    {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    | {code: f"\\u{code:04x}" for code in _UNSEEN}
    | {ord("\n"): "\\n", ord("\t"): "\\t"}
)
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with documented fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._pod = os.environ.get("HOSTNAME") or socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record; each value passed as ``extra`` becomes a field."""
        millis = int(record.msecs)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        # An extra cannot replace a documented field.
        line: dict[str, Any] = _extras(record) | {
            "timestamp": f"{stamp}.{millis:03d}Z",
            "level": record.levelname,
            "service": self._service,
            "pod": self._pod,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except ValueError:  # NaN is not JSON, or a value contains itself
            return json.dumps({name: str(value) for name, value in line.items()})


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD}


class ConsoleFormatter(logging.Formatter):
    """``14:03:21Z INFO scorer: message key=value`` (UTC).

    Control characters are escaped, so text from a record can neither start a new line nor control
    the terminal. The lines of a traceback are indented, so no line of an exception's text looks
    like a log line.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)sZ %(levelname)s {service}: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line for one record, with extras appended as ``key=value``; a traceback follows."""
        extras = [f"{k}={v}" for k, v in _extras(record).items()]
        return " ".join([super().formatMessage(record), *extras]).translate(_ESCAPES)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback, each line escaped and indented."""
        return _indent(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """The stack, each line escaped and indented."""
        return _indent(super().formatStack(stack_info))


def _indent(text: str) -> str:
    return "\n".join(f"  {line}".translate(_ESCAPES) for line in text.split("\n"))


def configure_logging(service: str, settings: LogSettings) -> None:
    """Write every log line of this process to standard error, in the chosen format.

    The first lines name variables of the environment that look mistyped.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(service) if settings.log_format == "json" else ConsoleFormatter(service)
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name, nearest in find_mistyped(os.environ):
        log.warning("%s is set, but no process reads it: did you mean %s?", name, nearest)
    for noisy in ("botocore", "boto3", "urllib3", "numba", "httpx", "httpx2", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def logs_json() -> bool:
    """Whether this process was configured to log JSON."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)
