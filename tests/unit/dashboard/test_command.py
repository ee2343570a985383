"""The command line of the dashboard."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI

from dashboard.__main__ import main
from dashboard.server import Server, StateLock, listen, lock_state_dir
from dashboard.web.sealing import Sealer
from dashboard.web.tokens import TokensFile
from stream_scorer.errors import UsageError


def test_token_command_prints_a_valid_line_for_the_tokens_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "ana", "--role", "lead"]) == 0
    shown = capsys.readouterr()
    path = tmp_path / "tokens"
    path.write_text(shown.out)
    entry = TokensFile(path).find(shown.err.split()[-1])
    assert entry is not None
    assert (entry.identity.name, entry.identity.role) == ("ana", "lead")


def test_invalid_token_name_is_rejected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["token", "ana:root"]) == 1
    assert "ana:root" in capsys.readouterr().err


def test_invalid_setting_prints_one_message_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASHBOARD_HOST", "0.0.0.0")
    monkeypatch.setenv("DASHBOARD_AUTH", "none")
    assert main([]) == 1
    error = capsys.readouterr().err
    assert "DASHBOARD_HOST=0.0.0.0" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--nonsense"], ["token"], ["token", "a", "--role", "king"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in ("DASHBOARD_HOST", "DASHBOARD_AUTH", "OUTPUT_TOPIC", "MODEL_STORE_URI"):
        assert name in text


def test_state_folder_is_locked_by_one_dashboard(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with (
        lock_state_dir(state),
        pytest.raises(UsageError, match="another dashboard"),
        lock_state_dir(state),
    ):
        pass
    with lock_state_dir(tmp_path / "state"):
        pass


def serve_in(state: Path, lock: StateLock | None = None) -> Server:
    """A dashboard's server that does not serve: only what it does once a second is of interest."""
    app = FastAPI()
    app.state.parts = SimpleNamespace(
        sealer=Sealer.from_own_key(state / "seal.key"), settings=SimpleNamespace(proxy_networks=())
    )
    return Server(app, lambda: None, lock)


def test_deleted_state_folder_is_locked_again_and_keeps_its_key(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with lock_state_dir(state) as lock:
        server = serve_in(state, lock)
        key = (state / "seal.key").read_bytes()
        shutil.rmtree(state)
        assert not asyncio.run(server.on_tick(0))
        assert (state / "seal.key").read_bytes() == key
        assert (state / "seal.key").stat().st_mode & 0o077 == 0
        with pytest.raises(UsageError, match="another dashboard"), lock_state_dir(state):
            pass
    assert server.problem is None


def test_dashboard_ends_when_another_one_took_its_deleted_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with lock_state_dir(state) as lock:
        server = serve_in(state, lock)
        shutil.rmtree(state)
        with lock_state_dir(state):
            assert not asyncio.run(server.on_tick(3))  # looks once a second
            assert asyncio.run(server.on_tick(10))
    assert "another dashboard uses DASHBOARD_STATE_DIR" in str(server.problem)


def test_folder_that_cannot_be_made_again_is_reported_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    with lock_state_dir(state) as lock:
        server = serve_in(state, lock)
        shutil.rmtree(state)
        state.write_text("a file, where a folder must be")
        for _ in range(3):
            assert not asyncio.run(server.on_tick(0))
        assert caplog.text.count("cannot be made again") == 1
        state.unlink()
        assert not asyncio.run(server.on_tick(0))
        assert (state / "lock").exists()
        assert (state / "seal.key").exists()


def test_connections_send_responses_without_delay() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
