"""The command line: its output and exit codes."""

from __future__ import annotations

import logging
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_scorer.__main__ import main
from stream_scorer.errors import RetryableError

COMMANDS = [
    ["run"],
    ["broker"],
    ["demo"],
    ["warm"],
    ["doctor"],
    ["produce"],
    ["tail"],
    ["verify"],
    ["replay"],
    ["quality"],
    ["topics", "create"],
    ["topics", "list"],
    ["dlq", "list"],
    ["dlq", "show"],
    ["dlq", "redrive"],
    ["labels", "import"],
    ["labels", "list"],
    ["labels", "show"],
    ["history", "status"],
    ["history", "show"],
    ["history", "build"],
    ["history", "rescale"],
]
WITH_SETTINGS = [c for c in COMMANDS if c[0] not in ("broker", "demo", "warm")]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Restore logging, which commands configure for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert f"usage: stream-scorer {' '.join(command)}" in capsys.readouterr().out


@pytest.mark.parametrize("command", WITH_SETTINGS, ids=" ".join)
def test_help_names_the_environment_variables(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--help"])
    out = capsys.readouterr().out
    assert "KAFKA_BOOTSTRAP_SERVERS" in out
    assert "INPUT_TOPIC" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unheard-of"],
        ["topics"],
        ["produce"],
        ["produce", "x.csv", "--rate", "0"],
        ["produce", "x.csv", "--limit", "-1"],
        ["run", "--workers", "none"],
        ["verify", "--timeout", "inf"],
        ["verify", "--recompute", "0"],
        ["replay", "--model", "v3"],
        ["replay", "--since", "1h"],
        ["replay", "--model", "3", "--since", "1h"],
        ["replay", "--model", "v3", "--since", "lunch"],
        ["replay", "--model", "v3", "--since", "1h", "--against", "labels"],
        ["replay", "--model", "v3", "--since", "1h", "--out", "rows.xlsx"],
        ["quality", "--since", "lunch"],
        ["quality", "--maturity-days", "-1"],
        ["quality", "--maturity-days", "nan"],
        ["broker", "--port", "70000"],
        ["dlq", "show", "17"],
        ["dlq", "list", "--stage", "lunch"],
        ["history"],
        ["history", "show"],
        ["history", "build", "--from", "yesterday"],
        ["history", "build", "--seed", "v1", "--cold"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: stream-scorer" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("stream-scorer ")


def test_user_error_is_one_line_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["produce", str(tmp_path / "none.csv")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"stream-scorer: no such file: {tmp_path / 'none.csv'}\n"


def test_wrong_setting_is_reported_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "nowhere")
    assert main(["verify"]) == 1
    assert "KAFKA_BOOTSTRAP_SERVERS='nowhere'" in capsys.readouterr().err


def test_interrupt_exits_quietly_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("stream_scorer.cli.verify.run_verify", interrupted)
    assert main(["verify"]) == 130
    assert capsys.readouterr().err == ""


def test_our_own_errors_are_failures_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(_: Namespace) -> int:
        raise RetryableError("kafka: gone")

    monkeypatch.setattr("stream_scorer.cli.verify.run_verify", failing)
    assert main(["verify"]) == 1
    assert capsys.readouterr().err == "stream-scorer: kafka: gone\n"


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from stream_scorer.__main__ import main; main(['--help']); "
        "heavy = {'numpy', 'pydantic', 'confluent_kafka', 'lightgbm'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "commands:" in done.stdout


def test_closed_pipe_ends_without_a_traceback() -> None:
    code = (
        "import os, sys; from stream_scorer.cli import verify; "
        "from stream_scorer.__main__ import main; from stream_scorer.cli.console import say; "
        "verify.run_verify = lambda args: [say('x' * 1000) for _ in range(1000)] and 0; "
        "sys.exit(main(['verify']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline()
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr:
        assert child.stderr.read() == b""
    assert child.wait(60) == 1
