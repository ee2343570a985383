"""One run, message by message: what is logged, what is repeated, and what is given up.

Until the run ends, a request without an answer is repeated: training goes on meanwhile. After the
end there is one more try.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final, Protocol

from stream_scorer.runtime.masking import mask_userinfo

RETRY_SECONDS: Final = 2.0
"""Between two attempts while the training goes on."""

LAST_ATTEMPTS: Final = 2
LAST_RETRY_SECONDS: Final = 1.0
"""After the end of the run."""

GATHER_SECONDS: Final = 1.0
"""Points of a curve are sent together."""

SENT_STEP_BYTES: Final = 256 * 1024
"""An upload that gets this much further counts as an answer of the server."""

ERROR_MAX_CHARACTERS: Final = 300

_LAST_MESSAGES: Final = ("finish", "fail", "track", "follow", "lost")
_HINTS: Final = {
    401: "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "the credentials do not permit this",
    404: "check the path in MLFLOW_TRACKING_URI: the server does not know this address",
}
_REDIRECTS: Final = range(300, 400)
_SERVER_FAILS_FROM: Final = 500
_TOO_MANY_REQUESTS: Final = 429
_STATUS: Final = re.compile(r"error code (\d{3})\b")
_SECRETS: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY")


class RunLog(Protocol):
    """A run on the server. A method may raise anything; one that failed can be called again."""

    run_id: str
    url: str

    def start(self, experiment: str, name: str, tags: Mapping[str, str], started_ms: int) -> None:
        """Create the run, and the experiment if it does not exist yet."""

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log the parameters that are not logged yet."""

    def log_metrics(self, metrics: Sequence[tuple[str, float, int, int]]) -> None:
        """Log (name, value, time in ms, step); a repeated point changes nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""

    def rename(self, name: str) -> None:
        """Give the run another name."""

    def log_data_set(self, described: Mapping[str, str]) -> None:
        """Name the data that the run was trained on."""

    def log_file(self, path: str, folder: str | None) -> None:
        """Upload one file."""

    def end(self, status: str, ended_ms: int) -> None:
        """Record how and when the run ended: FINISHED, FAILED or KILLED."""

    def register(self, tags: Mapping[str, str], description: str) -> None:
        """Register the run's bundle as a version of the model, unless it is registered."""

    def find_registered(self, tags: Mapping[str, str]) -> str | None:
        """The registered version with these tags, if any."""

    def move_alias(self, tags: Mapping[str, str]) -> str | None:
        """Let the alias name the version with these tags, or none if it is not registered."""


class Gone(Exception):
    """The server does not answer; the cause is the last error."""


class Inbox:
    """The messages from standard input, read by a thread so that the trainer never waits."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.is_last = threading.Event()
        """Set once the message that ends the run has been read, maybe long before its turn."""

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        """Read to the end of the input, which counts as a last message."""
        for line in self._stream:
            message = json.loads(line)
            self._messages.put(message)
            if message["do"] in _LAST_MESSAGES:
                self.is_last.set()
        self._messages.put({"do": "lost", "at": _now_ms()})
        self.is_last.set()

    def next(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next message, or None after ``timeout`` seconds."""
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            return None


class Outbox:
    """Reports to the trainer; a trainer that is gone is no error."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.last = time.monotonic()
        self._sent_bytes = 0

    def report(self, **values: Any) -> None:
        """Send one message."""
        self.last = time.monotonic()
        with self._lock, contextlib.suppress(OSError):
            self._stream.write(json.dumps(values).encode() + b"\n")
            self._stream.flush()

    def answered(self) -> None:
        """The server has answered a request."""
        self.report(state="answered")

    def sent(self, size: int) -> None:
        """Bytes of a request are on their way."""
        before, self._sent_bytes = self._sent_bytes, self._sent_bytes + size
        if before // SENT_STEP_BYTES != self._sent_bytes // SENT_STEP_BYTES:
            self.answered()


class Session:
    """Runs the messages of one run against the server."""

    def __init__(self, inbox: Inbox, outbox: Outbox, pause: Callable[[float], object]) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._pause = pause
        self.missed: dict[str, str] = {}

    def attempt(self, part: str, action: Callable[[], object]) -> bool:
        """Do one part of the tracking; False if the server refuses it.

        Raises:
            Gone: the server does not answer, and the run has ended.
        """
        last_attempts = 0
        while True:
            try:
                action()
            except Exception as error:
                if not is_transient(error):
                    self.missed.setdefault(part, describe(error))
                    return False
                if self._inbox.is_last.is_set():
                    last_attempts += 1
                    if last_attempts >= LAST_ATTEMPTS:
                        self.missed.setdefault(part, describe(error))
                        raise Gone from error
                    self._pause(LAST_RETRY_SECONDS)
                else:
                    self._inbox.is_last.wait(RETRY_SECONDS)
            else:
                self._outbox.report(state="done", part=part)
                return True

    def run(self, log: RunLog) -> dict[str, Any]:
        """Handle messages to the last one; returns what to report about it."""
        ending: dict[str, Any] = {}
        with contextlib.suppress(Gone):
            ending = self._handle(log)
        return {"missed": self.missed, "url": log.url, **ending}

    def _handle(self, log: RunLog) -> dict[str, Any]:
        while True:
            message = self._inbox.next()
            assert message is not None  # noqa: S101 - there is no timeout
            kind = message["do"]
            if kind == "start" and not self._start(log, message):
                return {}
            if kind == "metric":
                message = self._learning_curve(log, message)
                kind = message["do"]
            if kind == "finish":
                return self._finish(log, message)
            if kind in ("fail", "lost"):
                return self._fail(log, message)
            if kind == "track":
                return self._track(log, message)
            if kind == "follow":
                return self._follow(log, message["tags"])

    def _start(self, log: RunLog, message: Mapping[str, Any]) -> bool:
        def create() -> None:
            if not log.run_id:
                log.start(message["experiment"], message["name"], message["tags"], message["at"])
            log.log_params(message["params"])

        return self.attempt("run", create)

    def _learning_curve(self, log: RunLog, first: Mapping[str, Any]) -> dict[str, Any]:
        """Log points until another message arrives, and return that."""
        points = [first["point"]]
        gathered_by = time.monotonic() + GATHER_SECONDS
        while True:
            wait = None if not points else max(0.0, gathered_by - time.monotonic())
            message = self._inbox.next(wait)
            if message is not None and message["do"] == "metric":
                if not points:
                    gathered_by = time.monotonic() + GATHER_SECONDS
                points.append(message["point"])
                continue
            if points:
                batch = [tuple(point) for point in points]
                self.attempt("learning curve", lambda batch=batch: log.log_metrics(batch))  # type: ignore[misc]  # bound early, so that a repeated attempt sends the same points
                points = []
            if message is not None:
                return message

    def _finish(self, log: RunLog, message: Mapping[str, Any]) -> dict[str, Any]:
        def results() -> None:
            log.rename(message["name"])
            log.log_params(message["params"])
            log.log_metrics([(k, v, message["at"], 0) for k, v in message["metrics"].items()])
            log.set_tags(message["tags"])

        self.attempt("results", results)
        self.attempt("data set", lambda: log.log_data_set(message["data_set"]))
        self.attempt("end of the run", lambda: log.end("FINISHED", message["at"]))
        files = list(message["files"])

        def upload() -> None:
            while files:
                log.log_file(*files[0])
                files.pop(0)

        if not self.attempt("files", upload):
            return {}
        tags = message["tags"]
        is_registered = self.attempt(
            "registered model", lambda: log.register(tags, message["description"])
        )
        if is_registered and message["is_champion"]:
            return self._follow(log, tags)
        return {}

    def _fail(self, log: RunLog, message: Mapping[str, Any]) -> dict[str, Any]:
        if log.run_id:
            why = message.get("error", "the trainer ended before its run did")

            def end() -> None:
                log.set_tags({"error": why})
                log.end(message.get("status", "KILLED"), message["at"])

            self.attempt("end of the run", end)
        return {}

    def _track(self, log: RunLog, message: Mapping[str, Any]) -> dict[str, Any]:
        found: list[str | None] = []
        tags = message["finish"]["tags"]
        if not self.attempt("search", lambda: found.append(log.find_registered(tags))):
            return {}
        if found[-1] is None:
            return self._finish(log, message["finish"]) if self._start(log, message) else {}
        is_champion = message["finish"]["is_champion"]
        return {"was_registered": True} | (self._follow(log, tags) if is_champion else {})

    def _follow(self, log: RunLog, tags: Mapping[str, str]) -> dict[str, Any]:
        found: list[str | None] = []
        if not self.attempt("alias", lambda: found.append(log.move_alias(tags))):
            return {}
        return {"champion": found[-1]}


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later: no connection, no answer, an overloaded server.

    MLflow reports a request without an answer as an error of the server (500).
    """
    status = _status(error, str(error))
    if status:
        return status >= _SERVER_FAILS_FROM or status == _TOO_MANY_REQUESTS
    return isinstance(error, OSError)


def describe(error: BaseException) -> str:
    """One line for people: what the server answered, without credentials, and what to do.

    An error of the connection is at the end of a chain of errors that repeat its text.
    """
    first = error
    while (earlier := first.__cause__ or first.__context__) is not None:
        first = earlier
    text = " ".join(str(first).split()) or type(first).__name__
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "****")
    text = mask_userinfo(text)[:ERROR_MAX_CHARACTERS]
    status = _status(error, str(error))
    if status in _REDIRECTS:
        hint: str | None = "it redirects: set MLFLOW_TRACKING_URI to the address it redirects to"
    else:
        hint = _HINTS.get(status)
    return f"{text} ({hint})" if hint else text


def _status(error: BaseException, text: str) -> int:
    """The HTTP status of an answer; 0 where there is none."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    match = _STATUS.search(text)
    if match is not None:
        return int(match[1])
    status = getattr(error, "get_http_status_code", None)
    return 0 if status is None else int(status())


def _now_ms() -> int:
    return int(time.time() * 1000)
