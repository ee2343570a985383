"""A query parameter that a route does not know is refused everywhere, and not ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.web.auth import PROBES
from tests.support.dashboard_kit import make_app
from tests.support.listing.routes import routes_of

VALUES = {"kind": "card", "kind_name": "card", "value": "5", "flag_id": "0-1", "version": "v1"}
IGNORED = {*PROBES, "/openapi.json"}
"""A probe must not fail over its address, and neither must a program that reads the contract."""

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"

Asked = tuple[dict[tuple[str, str], Any], str]


@pytest.fixture(scope="module", params=["program", "browser"])
def asked(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Asked:
    """What each route answers to an unknown parameter, and who asks."""
    app = make_app(tmp_path_factory.mktemp("app"))
    # Not started: it is refused before any work.
    client = TestClient(app, "http://127.0.0.1", follow_redirects=False)
    headers = {}
    if request.param == "browser":
        headers = {"accept": BROWSER, "content-type": FORM}

    def answers() -> Iterator[tuple[tuple[str, str], Any]]:
        for method, path in sorted(set(routes_of(app.routes))):
            if path not in IGNORED:
                filled = re.sub(r"{(\w+)(:path)?}", lambda name: VALUES.get(name[1], "x"), path)
                query = {"unheard": "1"}
                yield (
                    (method, path),
                    client.request(method, filled, params=query, headers=headers),
                )

    return dict(answers()), request.param


def test_every_route_refuses_unknown_parameters(asked: Asked) -> None:
    answers, _ = asked
    found = {
        route: (answer.status_code, "unheard" in answer.text) for route, answer in answers.items()
    }
    assert len(found) > 60
    assert {route: one for route, one in found.items() if one != (400, True)} == {}


def test_people_get_a_page_and_programs_get_a_problem(asked: Asked) -> None:
    answers, who = asked
    found = {
        route: answer.headers["content-type"].partition(";")[0] for route, answer in answers.items()
    }
    page = "text/html" if who == "browser" else "application/problem+json"
    wanted = {
        route: "application/problem+json" if route[1].startswith("/api/v1/") else page
        for route in found
    }
    assert found == wanted


def test_probes_answer_whatever_is_in_their_address(tmp_path: Path) -> None:
    client = TestClient(make_app(tmp_path), "http://127.0.0.1")
    for path in ("/livez", "/metrics", "/openapi.json"):
        assert client.get(path, params={"unheard": "1"}).status_code == 200


def test_contract_says_that_unknown_parameters_are_refused(tmp_path: Path) -> None:
    paths = make_app(tmp_path).openapi()["paths"]
    silent = {
        (method, path)
        for path, item in paths.items()
        for method, operation in item.items()
        if path not in IGNORED and "400" not in operation["responses"]
    }
    assert silent == set()
