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

AUDIT = Path(__file__).parents[3] / ".ci" / "audit.py"
LOCK = "alpha==1.0 \\\n    --hash=sha256:00\nbeta[more]==2.1 ; python_version > '3'\ngamma==3\n"
FOUND = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.2"], "withdrawn": None}


@contextmanager
def index(
    releases: dict[str, Any], elsewhere: str = "", credentials: list[str | None] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The index's address, and the requested paths; an unknown path is a 404.

    ``elsewhere`` is the origin it redirects to from ``/idx``. ``credentials`` collects the
    Authorization header of each request.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if credentials is not None:
                credentials.append(self.headers["Authorization"])
            if elsewhere and self.path.startswith("/idx/"):
                self.send_response(302)
                there = "" if elsewhere == "here" else elsewhere
                self.send_header("Location", there + self.path.removeprefix("/idx"))
                self.end_headers()
                return
            known = self.path in releases
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(releases.get(self.path)).encode() if known else b"")

        def log_message(self, *_: Any) -> None:
            """Suppress request logs."""

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


def audit(address: str, folder: Path, text: str = LOCK, **more: str) -> tuple[int, str]:
    lock = folder / "some.lock"
    lock.write_text(text)
    done = subprocess.run(
        [sys.executable, str(AUDIT), str(lock)],
        env=os.environ | {"PIP_INDEX_URL": address, "NO_PROXY": "127.0.0.1"} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
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
    assert "beta 2.1: PYSEC-1, fixed in 2.2" in said


def test_withdrawn_advisory_is_ignored(tmp_path: Path) -> None:
    releases = sound()
    releases["/idx/pypi/beta/2.1/json"]["vulnerabilities"] = [FOUND | {"withdrawn": "2020-01-01"}]
    with index(releases) as (address, _):
        assert audit(address, tmp_path)[0] == 0


def test_index_without_advisories_is_reported_and_queried_once(tmp_path: Path) -> None:
    with index({}) as (address, asked):
        code, said = audit(address, tmp_path)
        assert code == 0
        assert "NOT COMPLETE" in said
        assert "HTTP 404" in said
        assert len(asked) == 1
        assert audit(address, tmp_path, AUDIT_REQUIRED="1")[0] == 1


def test_unreachable_index_does_not_fail_the_build(tmp_path: Path) -> None:
    with index({}) as (address, _):
        pass
    code, said = audit(address, tmp_path)
    assert code == 0
    assert "NOT COMPLETE" in said


def test_lock_without_pins_fails_without_a_request(tmp_path: Path) -> None:
    for text in ("", "# nothing yet\n", "alpha\nbeta>=2\n"):
        with index(sound()) as (address, asked):
            code, said = audit(address, tmp_path, text)
        assert code == 1, said
        assert "no pins in some.lock" in said
        assert asked == []


def test_unpinned_requirement_is_reported_by_its_line_only(tmp_path: Path) -> None:
    more = (
        "# a comment\n--no-binary :all:\n"
        "delta>=2 \\\n    --hash=sha256:00\n"
        "epsilon @ https://user:hush-hush@example.invalid/e.whl\n"
        "zeta==1.*\n"
        "-r other.txt\n"
    )
    with index(sound()) as (address, asked):
        code, said = audit(address, tmp_path, LOCK + more)
        assert code == 0, said
        assert len(asked) == 3
        assert "not looked up: 4 (some.lock:7, some.lock:9, some.lock:10, some.lock:11)" in said
        assert audit(address, tmp_path, LOCK + more, AUDIT_REQUIRED="1")[0] == 1


def test_redirect_to_another_host_gets_no_credentials(tmp_path: Path) -> None:
    releases = {path.removeprefix("/idx"): answer for path, answer in sound().items()}
    there: list[str | None] = []
    with index(releases, credentials=there) as (other, _):
        origin = other.replace("user:hush-hush@", "").removesuffix("/idx/simple/")
        here: list[str | None] = []
        with index({}, elsewhere=origin, credentials=here) as (address, _):
            code, said = audit(address, tmp_path, AUDIT_REQUIRED="1")
    assert code == 0, said
    assert there == [None] * 3
    assert None not in here
    assert len(here) == 3


def test_redirect_within_the_index_keeps_them(tmp_path: Path) -> None:
    releases = {path.removeprefix("/idx"): answer for path, answer in sound().items()}
    credentials: list[str | None] = []
    with index(releases, elsewhere="here", credentials=credentials) as (address, _):
        code, said = audit(address, tmp_path, AUDIT_REQUIRED="1")
    assert code == 0, said
    assert len(credentials) == 6
    assert None not in credentials
