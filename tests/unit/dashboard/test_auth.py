"""Authentication: settings, tokens, sessions and trusted proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from dashboard.settings import DashboardSettings
from dashboard.web.auth import COOKIE, SESSION_SECONDS, TokenAuth, local_path
from dashboard.web.sealing import Sealer, load_key, read_shared_key
from dashboard.web.tokens import TokensFile, hash_token, make_token, parse_tokens
from stream_scorer.errors import SettingsError
from stream_scorer.runtime.settings import load_settings
from tests.support.dashboard_kit import make_app

HTML = {"accept": "text/html"}


def write_tokens(folder: Path, *names: str) -> tuple[Path, list[str]]:
    made = [make_token(name, "analyst") for name in names]
    path = folder / "tokens"
    path.write_text("# users\n\n" + "\n".join(line for _, line in made) + "\n")
    return path, [token for token, _ in made]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[TestClient, str]]:
    path, (token,) = write_tokens(tmp_path, "ana")
    app = make_app(tmp_path, dashboard_auth="token", dashboard_tokens_file=path)
    with TestClient(app, "http://board.example", follow_redirects=False) as client:
        yield client, token


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "board.example"])
def test_auth_none_on_a_reachable_address_refuses_to_start(host: str) -> None:
    with pytest.raises(SettingsError, match="DASHBOARD_AUTH=token"):
        load_settings(DashboardSettings, {"dashboard_host": host})
    allowed = {"dashboard_host": host, "dashboard_insecure": True}
    assert load_settings(DashboardSettings, allowed).dashboard_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_auth_none_on_loopback_starts(host: str) -> None:
    assert load_settings(DashboardSettings, {"dashboard_host": host}).is_loopback


@pytest.mark.parametrize(
    ("auth", "more", "words"),
    [
        ("token", {}, "DASHBOARD_TOKENS_FILE"),
        ("proxy", {}, "DASHBOARD_PROXY_ADDRESSES"),
        ("proxy", {"dashboard_proxy_addresses": "10.0.0.0/99"}, "not an address or network"),
        ("oauth", {}, "DASHBOARD_AUTH='oauth'"),
    ],
)
def test_incomplete_auth_settings_refuse_to_start(
    auth: str, more: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(DashboardSettings, {"dashboard_auth": auth, **more})


def test_frame_says_that_the_session_ended_instead_of_staying_empty(
    guarded: tuple[TestClient, str],
) -> None:
    client, _ = guarded
    answer = client.get("/model/v1/report", headers=HTML | {"sec-fetch-dest": "iframe"})
    assert answer.status_code == 401
    assert "<p>Your session has ended: reload this page to log in again.</p>" in answer.text
    assert "frame-ancestors 'self'; sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert client.get("/model/v1/report", headers=HTML).headers["location"].startswith("/login")


def test_bearer_token_opens_the_api(guarded: tuple[TestClient, str]) -> None:
    client, token = guarded
    refused = client.get("/api/v1/flags")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["content-type"] == "application/problem+json"
    for value in (f"Bearer {token}x", "Bearer ", f"Basic {token}", token):
        assert client.get("/api/v1/flags", headers={"authorization": value}).status_code == 401
    right = {"authorization": f"Bearer {token}"}
    assert client.get("/api/v1/flags", headers=right).status_code == 200
    assert client.get("/api/v1/meta", headers=right).json()["user"]["name"] == "ana"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/metrics", "/openapi.json"])
def test_probes_and_metrics_need_no_token(guarded: tuple[TestClient, str], path: str) -> None:
    assert guarded[0].get(path).status_code in (200, 503)


@pytest.mark.parametrize(
    "path", ["/", "/t/0-1", "/check", "/api/v1/meta", "/api/v1/stream", "/nothing", "/healthz"]
)
def test_every_other_path_needs_a_token(guarded: tuple[TestClient, str], path: str) -> None:
    assert guarded[0].get(path).status_code == 401
    assert guarded[0].post("/predict", json={}).status_code == 401


def test_browser_logs_in_returns_to_its_page_and_logs_out(guarded: tuple[TestClient, str]) -> None:
    client, token = guarded
    sent = client.get("/?min_score=0.9&product=C", headers=HTML)
    assert sent.status_code == 303
    assert sent.headers["location"] == "/login?next=%2F%3Fmin_score%3D0.9%26product%3DC"
    form = client.get(sent.headers["location"], headers=HTML)
    assert 'value="/?min_score=0.9&amp;product=C"' in form.text
    wrong = client.post("/login", data={"token": "guess", "next": "/"})
    assert wrong.status_code == 401
    assert COOKIE not in client.cookies
    right = client.post("/login", data={"token": token, "next": "/?min_score=0.9&product=C"})
    assert (right.status_code, right.headers["location"]) == (303, "/?min_score=0.9&product=C")
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert token not in right.headers["set-cookie"]
    assert "secure" not in cookie
    assert client.get("/", headers=HTML).status_code == 200
    client.post("/logout")
    assert client.get("/", headers=HTML).status_code == 303


def test_login_form_with_too_many_fields_is_refused(guarded: tuple[TestClient, str]) -> None:
    client, _ = guarded
    answer = client.post("/login", content="&".join(f"field{n}=1" for n in range(11)))
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-input")


def test_cookie_is_secure_behind_an_https_proxy(guarded: tuple[TestClient, str]) -> None:
    client, token = guarded
    answer = client.post("/login", data={"token": token}, headers={"x-forwarded-proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_altered_session_is_rejected(guarded: tuple[TestClient, str]) -> None:
    client, token = guarded
    client.post("/login", data={"token": token})
    assert client.get("/api/v1/meta").status_code == 200
    forged = client.cookies[COOKIE][:-3] + "AAA"
    client.cookies.clear()
    assert client.get("/api/v1/meta", headers={"cookie": f"{COOKIE}={forged}"}).status_code == 401


def test_session_ends_when_its_token_is_revoked_and_when_it_expires(tmp_path: Path) -> None:
    path, (token,) = write_tokens(tmp_path, "ana")
    seconds = 0.0
    tokens = TokensFile(path, clock=lambda: seconds)
    auth = TokenAuth(tokens, Sealer(b"key"), clock=lambda: seconds)
    cookie = auth.log_in(Request({"type": "http", "headers": []}), token)
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())]
    request = Request({"type": "http", "headers": headers})
    found = auth.identify(request)
    assert found is not None
    assert found.name == "ana"
    path.write_text(make_token("ana", "lead")[1])
    seconds = 10.0
    assert auth.identify(request) is None
    renewed = TokenAuth(TokensFile(path), Sealer(b"key"), clock=lambda: seconds)
    assert renewed.identify(request) is None
    path.write_text(f"ana:analyst:{hash_token(token)}")
    seconds = 20.0
    assert auth.identify(request) is not None
    seconds = SESSION_SECONDS
    assert auth.identify(request) is None


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "", "/a\nb"],
)
def test_login_redirects_only_to_this_site(wanted: str) -> None:
    assert local_path(wanted) == "/"
    assert local_path("/t/3-4?x=1") == "/t/3-4?x=1"


def test_user_header_is_trusted_only_from_proxy_addresses(tmp_path: Path) -> None:
    app = make_app(
        tmp_path, dashboard_auth="proxy", dashboard_proxy_addresses="10.1.0.0/16, 192.0.2.7"
    )
    user = {"x-forwarded-user": "ana@example.org"}
    for address, status in (("10.1.2.3", 200), ("192.0.2.7", 200), ("::ffff:10.1.2.3", 200),
                            ("10.2.0.1", 401), ("testclient", 401)):  # fmt: skip
        client = TestClient(app, "http://board.example", client=(address, 5000))
        answer = client.get("/api/v1/meta", headers=user)
        assert answer.status_code == status, address
        if status == 200:
            assert answer.json()["user"]["name"] == "ana@example.org"
    inside = TestClient(app, "http://board.example", client=("10.1.2.3", 5000))
    assert inside.get("/api/v1/meta").status_code == 401
    twice = [("x-forwarded-user", "ana"), ("x-forwarded-user", "root")]
    assert inside.get("/api/v1/meta", headers=twice).status_code == 401


def test_proxy_names_the_role_of_its_users(tmp_path: Path) -> None:
    settings = {
        "dashboard_auth": "proxy",
        "dashboard_proxy_addresses": "10.1.0.0/16",
        "dashboard_proxy_role_header": "X-Forwarded-Role",
    }
    app = make_app(tmp_path, **settings)  # type: ignore[arg-type]  # the settings alone
    client = TestClient(app, "http://board.example", client=("10.1.2.3", 5000))

    def role(*values: str) -> str:
        headers = [("x-forwarded-user", "ana"), *(("x-forwarded-role", v) for v in values)]
        answer = client.get("/api/v1/meta", headers=headers).json()
        return str(answer["user"]["role"] if "user" in answer else answer["detail"])

    assert [role("lead"), role(" Ops "), role("viewer")] == ["lead", "ops", "viewer"]
    assert role() == role("") == "viewer"
    for values in (("admin",), ("lead", "viewer")):
        assert "must be one of viewer, analyst, lead, ops" in role(*values)
    assert client.get("/livez", headers={"x-forwarded-role": "admin"}).status_code == 200
    away = TestClient(app, "http://board.example", client=("10.2.0.1", 5000))
    headers = {"x-forwarded-user": "ana", "x-forwarded-role": "lead"}
    assert away.get("/api/v1/meta", headers=headers).status_code == 401


def test_tokens_file_is_reloaded_and_an_invalid_change_keeps_the_old_tokens(tmp_path: Path) -> None:
    path, (ana, bob) = write_tokens(tmp_path, "ana", "bob")
    now = 0.0
    tokens = TokensFile(path, clock=lambda: now)
    entry = tokens.find(bob)
    assert entry is not None
    assert entry.identity.name == "bob"
    assert tokens.find(ana + "x") is None
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    now += 10
    assert tokens.find(bob) is None
    assert tokens.find(ana) is not None
    path.write_text("nonsense")
    now += 10
    assert tokens.find(ana) is not None


def test_invalid_lines_are_reported_by_number_without_their_content() -> None:
    _, line = make_token("ana", "lead")
    with pytest.raises(SettingsError) as caught:
        parse_tokens(f"{line}\nana-secret\n{line}\nbob:king:{'0' * 64}", "tokens")
    message = str(caught.value)
    assert re.findall(r"tokens:(\d)", message) == ["2", "3", "4"]
    assert "secret" not in message


def test_missing_tokens_file_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DASHBOARD_TOKENS_FILE"):
        TokensFile(tmp_path / "nothing")


def test_sealed_value_is_valid_for_its_purpose_only_and_the_key_file_is_private(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state" / "key"
    sealer = Sealer(load_key(path))
    text = sealer.seal("cursor", [1, 2, 3])
    assert sealer.unseal("cursor", text) == [1, 2, 3]
    assert sealer.unseal("session", text) is None
    assert Sealer(load_key(path)).unseal("cursor", text) == [1, 2, 3]
    assert Sealer(b"other").unseal("cursor", text) is None
    assert [sealer.unseal("cursor", wrong) for wrong in ("", "é", "A", text[1:])] == [None] * 4
    assert path.stat().st_mode & 0o077 == 0


def test_replicas_with_a_shared_key_accept_each_others_sessions(tmp_path: Path) -> None:
    path, (token,) = write_tokens(tmp_path, "ana")
    key = tmp_path / "key"
    key.write_text("k" * 40 + "\n")
    cookies: dict[str, str] = {}
    for name in ("one", "two"):
        app = make_app(
            tmp_path / name,
            dashboard_auth="token",
            dashboard_tokens_file=path,
            dashboard_seal_key_file=key,
        )
        with TestClient(app, "http://board.example", follow_redirects=False) as client:
            if not cookies:
                client.post("/login", data={"token": token})
                cookies = dict(client.cookies)
            client.cookies.update(cookies)
            assert client.get("/api/v1/meta").status_code == 200


def test_seal_key_that_is_missing_or_too_short_refuses_to_start(tmp_path: Path) -> None:
    key = tmp_path / "key"
    with pytest.raises(SettingsError, match="DASHBOARD_SEAL_KEY_FILE"):
        read_shared_key(key)
    key.write_text("short")
    with pytest.raises(SettingsError, match="32 bytes"):
        read_shared_key(key)
