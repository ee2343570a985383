"""What is wrong with a body, in words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Request

from dashboard.web.cases.bodies import DecisionBody, read_model
from dashboard.web.problems import Problem


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"label": "4"}', "not '4'"),
        (b'{"label": 4}', "not 4"),
        (b'{"label": null}', "not null"),
        (b'{"label": true}', "not true"),
        (b'{"label": "FRAUD", "note": 1e9}', "not 1000000000.0"),
    ],
)
def test_wrong_value_is_shown_as_the_body_has_it(body: bytes, shown: str) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(Problem) as caught:
        asyncio.run(read_model(request, DecisionBody))
    assert caught.value.status == 422
    assert caught.value.detail.endswith(shown)
