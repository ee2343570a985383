"""Reasons are shown in words where the loaded model has the feature, and by its name elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.model_status import describe_features
from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_score,
    tiny_bundle,
    with_texts,
)
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
EVIL = "<img src=x onerror=alert(1)>'\""
NAMES = ("card1_frequency", "C13", "gone_feature", EVIL)
SHARE = "share of transactions with the same attribute of the card (card1)"


@contextmanager
def opened(folder: Path, model: StaticModel, names: tuple[str, ...] = NAMES) -> Iterator[Any]:
    """A client of a dashboard with one flagged transaction, whose reasons have these names."""
    topic = MemoryTopic(1)
    reasons = [{"feature": name, "value": "1", "contribution": 0.5} for name in names]
    source = {"topic": "transactions", "partition": 0, "offset": 0}
    topic.append(encode_score(make_score(0.9, reasons=reasons, source=source)))
    app = make_app(folder, topic, model)
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 1, what="the flag")
        yield client


def cells(page: str) -> list[str]:
    """The names of the reasons as the page has them, with their titles."""
    # A list cuts the words of a long text, and not the name of the field behind them.
    found = re.findall(r'<(?:th scope="row"|b) title="(.*?)">(.*?)</(?:th|b)>( \(\w+\))?', page)
    return [f"{title} | {shown}{field}" for title, shown, field in found]


def test_list_and_detail_show_the_text_and_keep_the_name(tmp_path: Path) -> None:
    with opened(tmp_path, StaticModel(tiny_bundle()), NAMES[:3]) as client:
        shown, detail = cells(client.get("/").text), cells(client.get("/t/0-0").text)
        flag = client.get("/api/v1/flags/0-0").json()
    assert shown == [
        f"{SHARE} · card1_frequency | {SHARE}",
        "count (C13) · C13 | count (C13)",
        "gone_feature | gone_feature",
    ]
    assert detail == [
        f'card1_frequency | S{SHARE[1:]} <span class="feature">card1_frequency</span>',
        "C13 | Count (C13)",
        "gone_feature | gone_feature",
    ]
    assert [reason["feature"] for reason in flag["reasons"]] == list(NAMES[:3])
    assert flag["reasons"][0].keys() == {"feature", "value", "contribution"}


def test_names_are_shown_while_no_model_is_loaded(tmp_path: Path) -> None:
    with opened(tmp_path, StaticModel(), NAMES[:2]) as client:
        assert cells(client.get("/").text) == ["card1_frequency | card1_frequency", "C13 | C13"]
        assert cells(client.get("/t/0-0").text) == cells(client.get("/").text)
        assert client.get("/api/v1/features").json() == {"model_version": None, "texts": {}}


def test_texts_and_names_are_escaped(tmp_path: Path) -> None:
    model = StaticModel(with_texts({"C13": EVIL, "D1": f"</script>{EVIL}"}))
    with opened(tmp_path, model, ("C13", EVIL)) as client:
        pages = [client.get(path).text for path in ("/", "/t/0-0", "/check")]
    for page in pages:
        assert "<img" not in page
    for page in pages[:2]:
        assert page.count("&lt;img src=x onerror=alert(1)&gt;&#39;&#34;") >= 3
    start = json.loads(unescape(pages[0].split("data-features='")[1].split("'")[0]))
    assert start == {"model_version": "v1", "texts": {"C13": EVIL, "D1": f"</script>{EVIL}"}}


def test_endpoint_has_the_texts_of_the_loaded_model(tmp_path: Path) -> None:
    model = StaticModel(tiny_bundle())
    with opened(tmp_path, model) as client:
        first = client.get("/api/v1/features").json()
        model.current = with_texts({"x": "something else"}, "v2")
        second = client.get("/api/v1/features").json()
        spec = client.get("/openapi.json").json()
    assert first["model_version"] == "v1"
    assert first["texts"]["card1_frequency"] == SHARE
    assert second == {"model_version": "v2", "texts": {"x": "something else"}}
    operation = spec["paths"]["/api/v1/features"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    described = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert described["properties"].keys() == first.keys()
    assert {"401", "403"} & operation["responses"].keys()


def test_text_that_is_the_name_is_left_out_and_a_long_one_is_cut() -> None:
    model = StaticModel(with_texts({"same": "same", "long": "x" * 5000}))
    assert describe_features(model)["texts"] == {"long": "x" * 160}


@pytest.mark.parametrize("has_token", [False, True])
def test_texts_need_a_token(tmp_path: Path, has_token: bool) -> None:
    token, line = make_token("ana", "analyst")
    tokens = tmp_path / "tokens"
    tokens.write_text(line)
    app = make_app(
        tmp_path,
        model=StaticModel(tiny_bundle()),
        dashboard_auth="token",
        dashboard_tokens_file=tokens,
    )
    headers = {"authorization": f"Bearer {token}"} if has_token else {}
    with TestClient(app, LOCAL) as client:
        answer = client.get("/api/v1/features", headers=headers)
    assert answer.status_code == (200 if has_token else 401)
    assert ("card1" in answer.text) is has_token
