"""What came with a record is harmless on a terminal, whichever command prints it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import stream_scorer.cli
from stream_scorer.cli.console import note, say, say_json
from stream_scorer.cli.tail import score_line
from stream_scorer.cli.times import format_time
from stream_scorer.dead_letters.dead_letter import check_partition
from stream_scorer.errors import UsageError
from stream_scorer.runtime.text import printable_lines
from tests.support.factories import make_score

EVIL = "\x1b]0;pwned\x07\x1b[2K\rforged\nline\x9b\u202e\u2028\U000e0001\x7f"


def test_text_output_escapes_what_a_terminal_would_act_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(f"é {EVIL}")
    note(EVIL)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
    assert printed.out.startswith("é \\x1b]0;pwned\\x07")


def test_json_output_escapes_it_too_and_keeps_its_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_json({EVIL: [EVIL, 1.5]})
    printed = capsys.readouterr().out
    assert printed[:-1].isprintable()
    assert json.loads(printed) == {EVIL: [EVIL, 1.5]}


def test_json_output_has_half_of_a_surrogate_pair_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_json({"note": "\ud800 é", "score": None})
    printed = capsys.readouterr().out
    assert "\\ud800" in printed
    assert json.loads(printed) == {"note": "\ud800 é", "score": None}


def test_message_of_several_lines_keeps_its_own_line_ends() -> None:
    assert printable_lines("one\ntwo\x1b[2K") == "one\ntwo\\x1b[2K"


def test_commands_write_through_the_console_alone() -> None:
    folder = Path(stream_scorer.cli.__file__).parent
    found = [
        f"{path.name}:{node.lineno}"
        for path in folder.glob("*.py")
        if path.name != "console.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and node.attr == "write"
            and ast.unparse(node.value) in ("sys.stdout", "sys.stderr"))
    ]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("millis", [2**63 - 1, 10**15 * 2, 253_402_300_800_000])
def test_time_after_year_9999_is_shown_as_a_number(millis: int) -> None:
    assert format_time(millis) == f"{millis} ms (after year 9999)"
    line = score_line(make_score("in", 0, 0, scored_at=millis))
    assert line.startswith(f"{millis} ms")


def test_times_to_year_9999_are_shown_in_utc() -> None:
    assert format_time(253_402_300_799_999) == "9999-12-31T23:59:59Z"
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(-1) == "no time"
    assert score_line(make_score("in", 0, 0, scored_at=3_600_007)).startswith("01:00:00.007 ")


def test_partition_that_the_topic_does_not_have_is_refused() -> None:
    check_partition("dlq", 11, 12)
    with pytest.raises(UsageError, match=r"dlq has no partition 99: its partitions are 0 to 11"):
        check_partition("dlq", 99, 12)
