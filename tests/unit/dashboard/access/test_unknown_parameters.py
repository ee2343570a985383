"""A query parameter that a route does not know is refused everywhere, and not ignored."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.testclient import TestClient

from tests.support.dashboard_kit import make_app

VALUES = {"kind": "card", "value": "5", "flag_id": "0-1", "version": "v1"}


def test_every_route_of_the_interface_refuses_unknown_parameters(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    client = TestClient(app, "http://127.0.0.1")  # not started: it is refused before any work
    answers = {}
    for path, item in app.openapi()["paths"].items():
        if not path.startswith("/api/v1/"):
            continue
        filled = re.sub(r"\{(\w+)\}", lambda found: VALUES.get(found[1], "x"), path)
        for method in item:
            answer = client.request(method, filled, params={"unheard": "1"})
            answers[method, path] = answer.status_code, "unheard" in answer.text
    answers["get", "/entity"] = (
        (answer := client.get("/entity/card/5", params={"unheard": "1"})).status_code,
        "unheard" in answer.text,
    )
    assert len(answers) > 30
    assert {route: found for route, found in answers.items() if found != (400, True)} == {}
