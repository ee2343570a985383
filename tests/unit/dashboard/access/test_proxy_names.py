"""User names from a trusted proxy: UTF-8, and never two users under one name."""

from __future__ import annotations

import ipaddress

import pytest
from fastapi import Request

from dashboard.web.problems import Problem
from dashboard.web.proxy import ProxyAuth

PROXIES = (ipaddress.ip_network("10.1.0.0/16"),)


def name_of(value: bytes, address: str = "10.1.2.3") -> str | None:
    """The user whom a proxy names with these bytes, as a server passes them on."""
    scope = {
        "type": "http",
        "headers": [(b"x-forwarded-user", value)],
        "client": (address, 5000),
    }
    found = ProxyAuth("X-Forwarded-User", PROXIES).identify(Request(scope))
    return None if found is None else found.name


@pytest.mark.parametrize("name", ["ana@example.org", "Jürgen", "Łucja", "山田", "O'Hara, Zoë"])
def test_names_are_read_as_utf8(name: str) -> None:
    assert name_of(name.encode()) == name
    assert name_of(b"  " + name.encode() + b"\t") == name


def test_a_name_is_limited_in_characters_not_bytes() -> None:
    assert name_of(("ü" * 254).encode()) == "ü" * 254
    assert name_of(("ü" * 255).encode()) is None


def test_bytes_that_are_not_utf8_are_refused_with_the_way_out() -> None:
    with pytest.raises(Problem, match=r"X-Forwarded-User .* not UTF-8: .*DASHBOARD_PROXY") as found:
        name_of("Jürgen".encode("latin-1"))
    assert found.value.status == 403


@pytest.mark.parametrize("name", ["ana\u00a0", "ana\u202ebo", "\u0085ana", "a\u200bna"])
def test_characters_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(Problem, match="cannot be shown"):
        name_of(name.encode())


def test_strangers_are_not_told_how_names_are_read() -> None:
    assert name_of(b"\xff", "10.2.0.1") is None
