"""Log lines: one JSON object per line with the documented fields, whatever is logged."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stream_scorer.runtime.logs import ConsoleFormatter, JsonFormatter, configure_logging
from stream_scorer.runtime.settings import LogSettings

EVIL = 'a\nb\r"c"\\ {"level": "CRITICAL"} \x1b[31m \u2028 \ud800 ☃'


class Lines:
    """A logger that keeps its lines."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatter)
        self.log = logging.getLogger(f"test.{id(self)}")
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        self.log.handlers.clear()
        self.log.addHandler(handler)

    def text(self) -> list[str]:
        return self._stream.getvalue().split("\n")[:-1]

    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=pytest.fail) for line in self.text()]


@pytest.fixture
def lines() -> Lines:
    return Lines(JsonFormatter("stream-scorer"))


def test_line_has_the_documented_fields(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    lines.log.info(
        "scored %d", 3, extra={"request_id": "r", "latency_ms": 1.5, "transaction_count": 3}
    )
    (line,) = lines.json()
    assert line["timestamp"].endswith("Z")
    assert len(line["timestamp"]) == len("2026-01-01T00:00:00.000Z")
    assert (line["level"], line["service"], line["message"]) == (
        "INFO", "stream-scorer", "scored 3",
    )  # fmt: skip
    assert line["pod"]
    assert (line["request_id"], line["latency_ms"], line["transaction_count"]) == ("r", 1.5, 3)


def test_pod_is_the_host_name_kubernetes_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTNAME", "scorer-7d4f-x")
    lines = Lines(JsonFormatter("stream-scorer"))
    lines.log.info("x")
    assert lines.json()[0]["pod"] == "scorer-7d4f-x"


def test_newlines_and_quotes_stay_within_their_line(lines: Lines) -> None:
    lines.log.info("got %s", EVIL, extra={"reason": EVIL})
    lines.log.info("next")
    first, second = lines.json()
    assert first["message"] == f"got {EVIL}"
    assert first["reason"] == EVIL
    assert second["message"] == "next"


def test_extra_does_not_replace_a_documented_field(lines: Lines) -> None:
    lines.log.warning("x", extra={"level": "DEBUG", "service": "s", "pod": "p", "timestamp": 0})
    (line,) = lines.json()
    assert line["level"] == "WARNING"
    assert line["service"] == "stream-scorer"
    assert line["pod"] != "p"
    assert line["timestamp"] != 0


def test_exception_is_one_field_of_one_line(lines: Lines) -> None:
    try:
        raise ValueError(EVIL.replace("\ud800", ""))
    except ValueError:
        lines.log.exception("failed")
    (line,) = lines.json()
    assert "Traceback" in line["exception"]
    assert "ValueError" in line["exception"]
    assert line["message"] == "failed"


def test_values_without_a_json_form_become_text(lines: Lines) -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (float("nan"), float("inf"), np.float64(1), np.int64(3), {1}, b"x", loop):
        lines.log.info("x", extra={"value": value})
    assert len(lines.json()) == 7
    assert all(line["message"] == "x" for line in lines.json())


def test_console_line_is_short_and_has_the_extras() -> None:
    lines = Lines(ConsoleFormatter("stream-scorer"))
    lines.log.info("model loaded", extra={"model_version": "v3", "seconds": 0.25})
    (line,) = lines.text()
    assert line[2] == line[5] == ":"
    assert line[8:] == "Z INFO stream-scorer: model loaded model_version=v3 seconds=0.25"


def test_console_shows_control_characters_as_escapes() -> None:
    lines = Lines(ConsoleFormatter("stream-scorer"))
    lines.log.info("got %s", "a\nb\r\x1b[2J\x9b", extra={"reason": "x\ny\tz"})
    (line,) = lines.text()
    assert line.endswith(r"got a\nb\x0d\x1b[2J\x9b reason=x\ny\tz")


def test_console_puts_the_traceback_below_the_line() -> None:
    lines = Lines(ConsoleFormatter("stream-scorer"))
    try:
        raise ValueError("broken")
    except ValueError:
        lines.log.exception("failed", extra={"attempt": 3})
    assert lines.text()[0].endswith("failed attempt=3")
    assert lines.text()[1].startswith("  Traceback")
    assert lines.text()[-1] == "  ValueError: broken"


def test_console_traceback_neither_starts_a_line_nor_controls_the_terminal() -> None:
    lines = Lines(ConsoleFormatter("stream-scorer"))
    try:
        try:
            raise ValueError(f"x\n12:00:00Z INFO scorer: forged {EVIL}")
        except ValueError as error:
            error.add_note("\n12:00:00Z INFO scorer: noted\r\x1b[2J")
            raise TypeError("y\n12:00:00Z INFO scorer: again\x85\u202e") from error
    except TypeError:
        lines.log.exception("failed", stack_info=True)
    first, *rest = lines.text()
    assert first.endswith("failed")
    assert all(line.startswith("  ") for line in rest)
    told = "\n".join(rest)
    assert told.count("12:00:00Z INFO scorer: ") >= 3
    assert r"forged a" in told
    assert r"\x1b[31m \u2028" in told
    assert r"again\x85\u202e" in told
    assert not set(told) & set("\r\x1b\x85\u2028\u202e")


def test_console_escapes_direction_controls() -> None:
    lines = Lines(ConsoleFormatter("stream-scorer"))
    lines.log.info("got \u202eabc\u2028%s\u2029", "\u2066\u200f\ufeff", extra={"reason": "\u061c"})
    (line,) = lines.text()
    assert line.isascii()
    assert line.endswith(r"got \u202eabc\u2028\u2066\u200f\ufeff\u2029 reason=\u061c")


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    ("chosen", "formatter"), [("json", JsonFormatter), ("console", ConsoleFormatter)]
)
def test_configured_format_and_level_apply_to_every_logger(
    root_logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    chosen: str,
    formatter: type[logging.Formatter],
) -> None:
    settings = LogSettings.model_validate({"log_level": "WARNING", "log_format": chosen})
    configure_logging("stream-scorer", settings)
    assert [type(h.formatter) for h in root_logger.handlers] == [formatter]
    logging.getLogger("any.module").info("hidden")
    logging.getLogger("any.module").warning("shown")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hidden" not in captured.err
    assert "shown" in captured.err


def test_libraries_log_only_warnings(root_logger: logging.Logger) -> None:
    configure_logging("stream-scorer", LogSettings.model_validate({"log_level": "DEBUG"}))
    assert not logging.getLogger("botocore.parsers").isEnabledFor(logging.INFO)
    assert not logging.getLogger("numba.core").isEnabledFor(logging.DEBUG)
