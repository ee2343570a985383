"""The dependency audit against an index on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

AUDIT = Path(__file__).parents[2] / ".ci" / "audit.py"
LOCK = "alpha==1.0 \\\n    --hash=sha256:00\nbeta[more]==2.1 ; python_version > '3'\ngamma==3\n"
FOUND = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.2"], "withdrawn": None}


@contextmanager
def index(releases: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths it was asked for; what it does not know is 404."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            known = self.path in releases
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(releases.get(self.path)).encode() if known else b"")

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield (
                f"http://user:hush-hush@127.0.0.1:{server.server_address[1]}/idx/simple/",
                asked,
            )
        finally:
            server.shutdown()
            thread.join()


def audit(address: str, folder: Path, **more: str) -> tuple[int, str]:
    lock = folder / "some.lock"
    lock.write_text(LOCK)
    done = subprocess.run(
        [sys.executable, str(AUDIT), str(lock)],
        env=os.environ | {"PIP_INDEX_URL": address, "NO_PROXY": "127.0.0.1"} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert "hush-hush" not in done.stdout
    return done.returncode, done.stdout


def sound() -> dict[str, Any]:
    paths = ("alpha/1.0", "beta/2.1", "gamma/3")
    return {f"/idx/pypi/{path}/json": {"vulnerabilities": []} for path in paths}


def test_sound_packages_pass(tmp_path: Path) -> None:
    with index(sound()) as (address, asked):
        code, said = audit(address, tmp_path, AUDIT_REQUIRED="1")
    assert code == 0, said
    assert "3 of 3 locked packages looked up, 0 vulnerabilities" in said
    assert len(asked) == 3


def test_vulnerability_fails_and_is_named(tmp_path: Path) -> None:
    releases = sound()
    releases["/idx/pypi/beta/2.1/json"]["vulnerabilities"] = [FOUND]
    with index(releases) as (address, _):
        code, said = audit(address, tmp_path)
    assert code == 1
    assert "beta 2.1: PYSEC-1, mended in 2.2" in said


def test_withdrawn_advisory_is_none(tmp_path: Path) -> None:
    releases = sound()
    releases["/idx/pypi/beta/2.1/json"]["vulnerabilities"] = [FOUND | {"withdrawn": "2020-01-01"}]
    with index(releases) as (address, _):
        assert audit(address, tmp_path)[0] == 0


def test_index_without_advisories_is_said_and_asked_once(tmp_path: Path) -> None:
    with index({}) as (address, asked):
        code, said = audit(address, tmp_path)
        assert code == 0
        assert "NOT COMPLETE" in said
        assert "HTTP 404" in said
        assert len(asked) == 1
        assert audit(address, tmp_path, AUDIT_REQUIRED="1")[0] == 1


def test_index_out_of_reach_is_no_failed_build(tmp_path: Path) -> None:
    with index({}) as (address, _):
        pass
    code, said = audit(address, tmp_path)
    assert code == 0
    assert "NOT COMPLETE" in said
