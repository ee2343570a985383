"""No route shows a viewer what DASHBOARD_MASKED_FIELDS hides: all of them are asked, new ones too.

One flagged transaction has marked values in all of these fields. Whoever adds a route with a path
parameter of a new name adds a value for it to ``PLACES``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from dashboard.feed.records import InputRecord
from dashboard.operations.dead_letters import DeadLetters
from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_context,
    make_score,
    make_transaction,
    serve,
    tiny_bundle,
)
from tests.support.listing.memory_input import MemoryInput
from tests.support.listing.routes import routes_of
from tests.support.operations.brokers import MemoryDeadLetters, make_monitor
from tests.support.waiting import wait_until

CARD, ADDR, EMAIL = 987650000001, 987650000002, "marked-one.example"
MARKED = re.compile(r"98765000000\d|marked-\w+")
VALUES: dict[str, Any] = {
    "card1": float(CARD), "card2": 987650000003.0, "card3": 987650000004.0, "card4": "marked-visa",
    "card5": 987650000005.0, "card6": "marked-credit", "addr1": float(ADDR),
    "addr2": 987650000006.0, "P_emaildomain": EMAIL, "R_emaildomain": "marked-two.example",
}  # fmt: skip
FEATURES = (
    "card1",
    "P_emaildomain",
    "card1_addr1_frequency",
    "TransactionAmt_to_card1_mean",
    "C13",
)
PLACES = {
    "flag_id": ("0-0", "0-1"),
    "value": (str(CARD), EMAIL, str(ADDR), "Windows"),
    "kind": ("card", "email", "addr", "device"),
    "kind_name": ("card", "email", "addr", "device"),
    "version": ("v1",), "name": ("one",), "training_id": ("training-1",),
}  # fmt: skip
QUERIES = {
    "/": ("columns=card1,card2,card3,card4,card5,card6,addr1,addr2,P_emaildomain,R_emaildomain",),
    "/check": ("flag=0-0", "flag=0-0&from=row"),
    "/api/v1/flags/{flag_id}/related": ("by=card1", "by=email", "by=addr1", "by=device"),
}
MAY_FAIL = ("/api/v1/models", "/api/v1/trainings", "/model", "/readyz", "/health", "/predict")
"""There is no store, and no Kafka."""

SHOWN_TO_ANALYSTS = {
    "/", "/t/{flag_id}", "/t/{flag_id}/panel", "/entity/{kind_name}/{value:path}", "/check", "/ops",
    "/api/v1/flags", "/api/v1/flags/{flag_id}", "/api/v1/flags/{flag_id}/raw",
    "/api/v1/flags/{flag_id}/related", "/api/v1/entities/{kind}/{value:path}",
    "/api/v1/export.csv", "/api/v1/export.jsonl", "/api/v1/operations", "/api/v1/stream",
}  # fmt: skip


@dataclass
class Marked:
    """A dashboard with marked values. ``topic`` takes more scores."""

    address: str
    app: Any
    topic: MemoryTopic
    tokens: dict[str, str]
    client: httpx.Client

    def ask(self, role: str, method: str, path: str) -> str:
        """What the dashboard answers, and where it redirects to."""
        headers = {"authorization": f"Bearer {self.tokens[role]}", "accept": "*/*"}
        answer = self.client.request(method, self.address + path, headers=headers)
        assert answer.status_code < 500 or path.startswith(MAY_FAIL), (path, answer.text)
        return f"{answer.status_code} {answer.headers} {answer.text}"

    def first_tick(self, role: str) -> str:
        """The first tick with a row of the stream."""
        headers = {"authorization": f"Bearer {self.tokens[role]}"}
        url = f"{self.address}/api/v1/stream"
        with self.client.stream("GET", url, headers=headers) as answer:
            lines = answer.iter_lines()
            next(line for line in lines if line.startswith("data"))
            self.topic.append(make_marked(len(self.topic.logs[0])))
            return next(line for line in lines if line.startswith("data") and '"id":"' in line)


def make_marked(offset: int, **more: Any) -> bytes:
    reasons = [
        {"feature": name, "value": str(VALUES.get(name, CARD if name != "C13" else 7)),
         "contribution": 0.5}
        for name in FEATURES
    ]  # fmt: skip
    source = {"topic": "transactions", "partition": 0, "offset": offset}
    return encode_score(
        make_score(0.9, source=source, reasons=reasons, context=make_context(**VALUES), **more)
    )


@contextmanager
def marked_dashboard(folder: Path) -> Iterator[Marked]:
    topic = MemoryTopic(1)
    topic.append(make_marked(0, model_version="v1"))  # whose waterfall can be drawn
    topic.append(make_marked(1, model_version="v0"))
    row = orjson.dumps(make_transaction(1, **VALUES))
    record = InputRecord(1, str(CARD).encode(), row, [("h", EMAIL.encode())])
    made = {role: make_token(role, role) for role in ("viewer", "analyst", "lead")}
    tokens = folder / "tokens"
    tokens.write_text("\n".join(line for _, line in made.values()))
    found = {"place": "transactions-dlq[0]@1", "time": 1, "stage": "validate",
              "reason": f"card1: '{CARD}' is not a number", "input": "transactions[0]@9",
              "value_bytes": 9}  # fmt: skip
    source = MemoryDeadLetters(DeadLetters(1, [found]))
    app = make_app(
        folder, topic, StaticModel(tiny_bundle()), input_topic=MemoryInput([[record, record]]),
        monitor=make_monitor(dead_letters=source), dashboard_auth="token",
        dashboard_tokens_file=tokens,
    )  # fmt: skip
    with serve(app) as address, httpx.Client(timeout=60) as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 2, what="the rows")
        given = {role: token for role, (token, _) in made.items()}
        yield Marked(address, app, topic, given, client)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marked]:
    with marked_dashboard(tmp_path_factory.mktemp("marked")) as found:
        yield found


def urls_of(path: str) -> Iterator[str]:
    """The addresses to ask of a route: the values of its parameters, and its queries."""
    names = re.findall(r"{(\w+)", path)
    count = max((len(PLACES[name]) for name in names), default=1)
    for i in range(count):
        values = {name: PLACES[name][min(i, len(PLACES[name]) - 1)] for name in names}
        url = re.sub(r":path}", "}", path).format(**values)
        yield url
        yield from (f"{url}?{query}" for query in QUERIES.get(path, ()))


def shown(marked: Marked, role: str, routes: Iterable[tuple[str, str]]) -> set[str]:
    """The routes whose answers to a role have a marked value that was not in the request."""
    found = {"/api/v1/stream"} if MARKED.search(marked.first_tick(role)) else set()
    for method, path in routes:
        if path in ("/api/v1/stream", "/logout"):
            continue
        for url in urls_of(path):
            text = marked.ask(role, method, url)
            for value in MARKED.findall(url):
                is_refused = text.startswith(("403", "404", "405"))
                text = text.replace(value, "") if is_refused else text
            if MARKED.search(text):
                found.add(path)
    return found


def test_no_route_shows_a_viewer_a_masked_value_and_analysts_see_them(marked: Marked) -> None:
    routes = sorted(set(routes_of(marked.app.routes)))
    assert len(routes) > 60
    assert shown(marked, "viewer", routes) == set()
    some = [(method, path) for method, path in routes if path in SHOWN_TO_ANALYSTS]
    assert shown(marked, "analyst", some) == SHOWN_TO_ANALYSTS


@pytest.mark.parametrize("path", ["/", "/api/v1/flags", "/api/v1/flags/count"])
def test_viewer_cannot_look_for_a_masked_value(marked: Marked, path: str) -> None:
    for query in (f"card1={CARD}", f"email={EMAIL}", f"addr1={ADDR}"):
        assert marked.ask("viewer", "GET", f"{path}?{query}").startswith("403")
        assert marked.ask("analyst", "GET", f"{path}?{query}").startswith("200")
    for text in (str(CARD), "marked"):
        counts = [
            orjson.loads(marked.ask(role, "GET", f"/api/v1/flags/count?q={text}").split("}) ")[-1])
            for role in ("viewer", "analyst")
        ]
        assert counts[0] == {"count": 0}
        assert counts[1]["count"] >= 2
    assert marked.ask("viewer", "GET", f"{path}?q=Windows&device=Windows").startswith("200")


def test_viewer_sees_that_transactions_share_a_card_and_what_is_not_masked(marked: Marked) -> None:
    page = marked.ask("viewer", "GET", "/t/0-0")
    assert 'href="/entity/device/Windows"' in page
    assert 'href="/entity/card/' not in page
    assert "Hidden for your role: card1, " in page
    related = marked.ask("viewer", "GET", "/api/v1/flags/0-0/related?by=card1")
    assert '"value":"hidden"' in related
    assert '"id":"0-1"' in related
    assert '"hidden":["card1",' in related
