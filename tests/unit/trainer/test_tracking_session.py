"""What the tracking process does with the messages of a run, against a server in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from trainer.publishing.tracking_session import (
    LAST_ATTEMPTS,
    SENT_STEP_BYTES,
    Inbox,
    Outbox,
    Session,
    describe,
    is_transient,
)


class Refused(Exception):
    """As an MlflowException: the server answered with a status."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text or f"failed with error code {status} != 200")
        self.status = status

    def get_http_status_code(self) -> int:
        return self.status


@dataclass
class MemoryLog:
    """A run on a server in memory; ``faults`` are raised once each by the named method."""

    faults: dict[str, list[Exception]] = field(default_factory=dict)
    registered: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    url: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    alias: str | None = None

    def _call(self, name: str, *values: Any) -> None:
        if self.faults.get(name):
            raise self.faults[name].pop(0)
        self.calls.append((name, *values))

    def start(self, experiment: str, name: str, tags: Mapping[str, str], started_ms: int) -> None:
        self._call("start", experiment, name, dict(tags), started_ms)
        self.run_id, self.url = "r1", "http://server/r1"

    def log_params(self, params: Mapping[str, str]) -> None:
        self._call("log_params", dict(params))

    def log_metrics(self, metrics: Sequence[tuple[str, float, int, int]]) -> None:
        self._call("log_metrics", *map(tuple, metrics))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._call("set_tags", dict(tags))

    def rename(self, name: str) -> None:
        self._call("rename", name)

    def log_data_set(self, described: Mapping[str, str]) -> None:
        self._call("log_data_set", dict(described))

    def log_file(self, path: str, folder: str | None) -> None:
        self._call("log_file", path, folder)

    def end(self, status: str, ended_ms: int) -> None:
        self._call("end", status, ended_ms)

    def register(self, tags: Mapping[str, str], description: str) -> None:
        self._call("register", description)
        self.registered[tags["model_version"]] = "1"

    def find_registered(self, tags: Mapping[str, str]) -> str | None:
        return self.registered.get(tags["model_version"])

    def move_alias(self, tags: Mapping[str, str]) -> str | None:
        self._call("move_alias", tags["model_version"])
        self.alias = self.find_registered(tags)
        return self.alias

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


START = {"do": "start", "experiment": "e", "name": "n", "params": {"a": "1"}, "tags": {}, "at": 5}
FINISH = {
    "do": "finish",
    "at": 9,
    "name": "v7",
    "params": {"b": "2"},
    "metrics": {"average_precision": 0.5},
    "tags": {"model_version": "v7", "model_sha256": "ab"},
    "data_set": {"name": "d"},
    "files": [["/f/report.html", None], ["/f/model.pkl", "bundle"]],
    "description": "v7 in store",
    "is_champion": True,
}
WHOLE = [
    "start", "log_params", "rename", "log_params", "log_metrics", "set_tags", "log_data_set",
    "end", "log_file", "log_file", "register", "move_alias",
]  # fmt: skip


@dataclass
class Ran:
    """A session that ended."""

    ending: dict[str, Any]
    parts: list[str]
    pauses: list[float]


def run(log: MemoryLog, *messages: Mapping[str, Any]) -> Ran:
    inbox = Inbox(io.BytesIO(b"".join(json.dumps(m).encode() + b"\n" for m in messages)))
    inbox.read()
    replies, pauses = io.BytesIO(), list[float]()
    ending = Session(inbox, Outbox(replies), pauses.append).run(log)
    reports = [json.loads(line) for line in replies.getvalue().splitlines()]
    parts = [report["part"] for report in reports if report["state"] == "done"]
    return Ran(ending, parts, pauses)


def test_whole_run_is_logged_in_order() -> None:
    log = MemoryLog()
    points = [{"do": "metric", "point": ["ap", 0.1 * i, i, i]} for i in (1, 2)]
    ran = run(log, START, *points, FINISH)
    curve = ("log_metrics", ("ap", 0.1, 1, 1), ("ap", 0.2, 2, 2))
    assert log.calls[2] == curve  # both points in one request
    assert [name for i, name in enumerate(log.names()) if i != 2] == WHOLE
    assert ran.ending == {"missed": {}, "url": "http://server/r1", "champion": "1"}
    assert ran.parts == [
        "run", "learning curve", "results", "data set", "end of the run", "files",
        "registered model", "alias",
    ]  # fmt: skip


def test_alias_stays_if_the_version_is_not_promoted() -> None:
    log = MemoryLog(alias="4")
    assert "champion" not in run(log, START, {**FINISH, "is_champion": False}).ending
    assert log.alias == "4"


def test_one_lost_answer_is_repeated_and_no_file_is_sent_twice() -> None:
    log = MemoryLog({"log_file": [ConnectionResetError("reset")], "start": [Refused(503)]})
    ran = run(log, START, FINISH)
    assert ran.ending["missed"] == {}
    assert log.names() == WHOLE
    assert len(ran.pauses) == 2


def test_server_that_stays_away_after_the_end_is_given_up() -> None:
    log = MemoryLog({"start": [ConnectionRefusedError("refused") for _ in range(9)]})
    ran = run(log, START, FINISH)
    assert ran.ending["missed"] == {"run": "refused"}
    assert log.calls == []
    assert len(log.faults["start"]) == 9 - LAST_ATTEMPTS


def test_refused_run_is_not_repeated_and_ends_the_tracking() -> None:
    log = MemoryLog({"start": [Refused(401)]})
    ran = run(log, START, FINISH)
    assert "MLFLOW_TRACKING_USERNAME" in ran.ending["missed"]["run"]
    assert log.calls == []
    assert ran.pauses == []


def test_part_that_an_old_server_does_not_know_costs_only_that_part() -> None:
    log = MemoryLog({"log_data_set": [Refused(404)]})
    ran = run(log, START, FINISH)
    assert list(ran.ending["missed"]) == ["data set"]
    assert log.names() == [name for name in WHOLE if name != "log_data_set"]


def test_model_without_its_files_is_not_registered() -> None:
    log = MemoryLog({"log_file": [Refused(403)]})
    assert list(run(log, START, FINISH).ending["missed"]) == ["files"]
    assert log.registered == {}


@pytest.mark.parametrize(
    ("message", "status"),
    [({"do": "fail", "error": "no rows", "status": "FAILED", "at": 8}, "FAILED"), (None, "KILLED")],
    ids=["failed", "input ends"],
)
def test_run_that_does_not_finish_is_ended_on_the_server(
    message: dict[str, Any] | None, status: str
) -> None:
    log = MemoryLog()
    run(log, START, *([] if message is None else [message]))
    assert log.calls[-1][:2] == ("end", status)
    error = log.calls[-2][1]["error"]
    assert error == ("no rows" if message else "the trainer ended before its run did")


def test_version_is_tracked_afterwards_once() -> None:
    log = MemoryLog()
    message = {**START, "do": "track", "finish": FINISH}
    assert run(log, message).ending["champion"] == "1"
    assert log.names() == WHOLE
    again = run(log, message).ending
    assert again == {
        "missed": {}, "url": "http://server/r1", "was_registered": True, "champion": "1",
    }  # fmt: skip
    assert log.names() == [*WHOLE, "move_alias"]


def test_alias_follows_the_pointer_also_to_a_version_that_is_not_registered() -> None:
    log = MemoryLog(registered={"v6": "3"}, alias="9")
    follow = {"do": "follow", "tags": {"model_version": "v6", "model_sha256": "x"}}
    assert run(log, follow).ending["champion"] == "3"
    follow["tags"] = {"model_version": "v5", "model_sha256": "x"}
    assert run(log, follow).ending["champion"] is None
    assert log.alias is None


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (Refused(500), True),
        (Refused(503), True),
        (Refused(429), True),
        (Refused(500, "API request failed with exception too many 500 error responses"), True),
        (Refused(400), False),
        (Refused(401), False),
        (Refused(500, "failed with error code 302 != 200"), False),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (ValueError(), False),
    ],
)
def test_what_may_pass_is_repeated(error: Exception, may_pass: bool) -> None:
    assert is_transient(error) is may_pass


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (Refused(302), "set MLFLOW_TRACKING_URI to the address it redirects to"),
        (Refused(403), "do not permit"),
        (Refused(404), "check the path in MLFLOW_TRACKING_URI"),
    ],
)
def test_error_says_what_to_do(error: Exception, hint: str) -> None:
    assert hint in describe(error)


def test_error_is_described_by_what_caused_it() -> None:
    error = ValueError("max retries exceeded with url /api " * 20)
    error.__context__ = ConnectionRefusedError(111, "Connection refused")
    assert describe(error) == "[Errno 111] Connection refused"


def test_error_hides_secrets_and_is_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok-123")
    text = describe(
        ValueError("at http://me:pass@host/x\nAuthorization: Bearer tok-123 " + "y" * 999)
    )
    assert "pass" not in text
    assert "tok-123" not in text
    assert "\n" not in text
    assert len(text) <= 300


def test_upload_counts_as_an_answer_every_quarter_of_a_mebibyte() -> None:
    replies = io.BytesIO()
    outbox = Outbox(replies)
    for _ in range(10):
        outbox.sent(SENT_STEP_BYTES // 4)
    assert replies.getvalue().count(b"answered") == 2


def test_trainer_that_is_gone_is_no_error() -> None:
    class Closed(io.BytesIO):
        def write(self, *_: Any) -> int:
            raise BrokenPipeError

    call: Callable[[], None] = Outbox(Closed()).answered
    call()
