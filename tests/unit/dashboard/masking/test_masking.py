"""Viewers see an input record without what names a card, an address or a person."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from dashboard.cache.selection import Search
from dashboard.feed.records import InputRecord
from dashboard.masking import MASK, FieldMask
from dashboard.web.tokens import ROLES, make_token
from schemas.records import encode_record
from tests.support.dashboard_kit import (
    MemoryTopic,
    encode_score,
    make_app,
    make_context,
    make_flag,
    make_score,
    make_transaction,
)
from tests.support.listing.memory_input import MemoryInput
from tests.support.waiting import wait_until

CARD = 4242.0
DESCRIBED: dict[str, Any] = {
    "appended_at": 1, "size": 9, "key": "4242", "headers": [["card", "4242"], ["n", None]],
    "encoding": "json", "problem": None,
    "fields": {"card1": CARD, "Card2": 7, "addr1": None, "TransactionAmt": 5.0,
               "more": [{"P_emaildomain": "a.example", "C1": 1}]},
}  # fmt: skip


def test_fields_are_hidden_at_any_depth_and_in_any_case() -> None:
    names = ("CARD1", "card2", "addr1", "P_emaildomain", "R_emaildomain")
    masked, hidden = FieldMask(names).mask_record(DESCRIBED)
    assert masked["fields"] == {
        "card1": MASK, "Card2": MASK, "addr1": None, "TransactionAmt": 5.0,
        "more": [{"P_emaildomain": MASK, "C1": 1}],
    }  # fmt: skip
    assert (masked["key"], masked["headers"]) == (MASK, [["card", MASK], ["n", None]])
    assert hidden == ["card1", "Card2", "P_emaildomain", "key", "headers"]
    assert DESCRIBED["fields"]["card1"] == CARD  # the original is as it was


def test_record_that_cannot_be_decoded_says_nothing_of_its_content() -> None:
    broken = {**DESCRIBED, "fields": None, "problem": "not JSON: card1=4242", "headers": []}
    masked, hidden = FieldMask(("card1",)).mask_record(broken)
    assert "4242" not in str(masked)
    assert hidden == ["key", "problem"]


def test_nothing_is_hidden_without_names() -> None:
    assert FieldMask().mask_record(DESCRIBED) == (DESCRIBED, [])
    body = make_flag(1).body
    assert FieldMask().mask_flag(body) is body


def test_everything_that_has_the_value_of_a_masked_field_is_hidden() -> None:
    mask = FieldMask(("TransactionAmt", "ProductCD", "Card4", "DeviceInfo"))
    features = ("TransactionAmt", "card4_frequency", "card40", "C13")
    reasons = [{"feature": name, "value": "1", "contribution": 0.5} for name in features]
    masked = orjson.loads(mask.mask_flag(make_flag(1, reasons=reasons).body))
    assert (masked["amount"], masked["expected_loss"]) == (None, 0.0)
    assert (masked["product"], masked["card"]) == (MASK, MASK)
    assert [reason["value"] for reason in masked["reasons"]] == [MASK, MASK, "1", "1"]
    assert sorted(masked["hidden"]) == ["DeviceInfo", "ProductCD", "TransactionAmt", "card4"]
    assert masked["context"]["DeviceInfo"] == MASK
    assert masked["context"]["P_emaildomain"] == "gmail.com"
    assert mask.hides_filter("min_amount")
    assert mask.not_searched == ("device",)


def test_search_looks_at_no_masked_field() -> None:
    flag = make_flag(1, context=make_context(card1=4242.0, P_emaildomain="a.example"))
    for text in ("4242", "a.ex", "Wind"):
        assert Search(text).matches(flag)
    assert not Search("4242", ("card1",)).matches(flag)
    assert not Search("a.ex", ("email",)).matches(flag)
    assert Search("wind", ("card1", "email")).matches(flag)
    everything = Search("1", ("card1", "email", "device"))
    assert "email" not in everything.condition
    assert [index for index, _ in everything.indexed()] == ["by_transaction"] * 19
    assert Search("a", ("card1", "email", "device")).condition == "(0)"


@pytest.fixture
def call(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """``call(role, path)`` on a dashboard with one flagged transaction, as Avro and as JSON.

    A parameter names the fields that are masked instead of the usual ones.
    """
    settings = getattr(request, "param", {})
    row = make_transaction(1, card1=CARD, P_emaildomain="a.example", addr1=315.0)
    values = [orjson.dumps(row), encode_record("transaction", row), b"{4242"]
    records = [InputRecord(1, b"4242", value, [("h", b"4242")]) for value in values]
    topic = MemoryTopic(1)
    for offset in range(len(values)):
        source = {"topic": "transactions", "partition": 0, "offset": offset}
        topic.append(encode_score(make_score(0.9, source=source)))
    made = {role: make_token(role, role) for role in ROLES}
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(line for _, line in made.values()))
    app = make_app(
        tmp_path, topic, input_topic=MemoryInput([records]), dashboard_auth="token",
        dashboard_tokens_file=tokens, **settings,
    )  # fmt: skip
    with TestClient(app, "http://board.example") as client:
        wait_until(lambda: app.state.parts.board.counts.flagged == 3, what="the rows")

        def ask(role: str, path: str) -> Any:
            return client.get(path, headers={"authorization": f"Bearer {made[role][0]}"})

        yield ask


def test_raw_record_is_whole_for_analysts_and_masked_for_viewers(call: Any) -> None:
    for role in ("analyst", "lead", "ops"):
        for offset in range(3):
            found = call(role, f"/api/v1/flags/0-{offset}/raw").json()
            assert (found["hidden"], found["key"]) == ([], "4242")
        assert "Hidden for your role" not in call(role, "/t/0-0").text
    for offset in (0, 1):
        found = call("viewer", f"/api/v1/flags/0-{offset}/raw").json()
        assert "4242" not in str(found)
        assert "a.example" not in str(found)
        assert found["fields"]["TransactionAmt"] == 50.0
        assert {"card1", "P_emaildomain", "addr1", "key", "headers"} == set(found["hidden"])
    broken = call("viewer", "/api/v1/flags/0-2/raw")
    assert "4242" not in broken.text
    assert broken.json()["problem"] == "the record cannot be decoded"
    assert "Hidden for your role: card1, " in call("viewer", "/t/0-0").text


@pytest.mark.parametrize(
    "call", [{"dashboard_masked_fields": "transactionamt"}], indirect=True, ids=["amounts"]
)
def test_order_by_expected_loss_reveals_no_amount_to_viewers(call: Any) -> None:
    refused = call("viewer", "/api/v1/flags?sort=expected_loss")
    assert (refused.status_code, refused.json()["type"]) == (403, "field-hidden")
    assert refused.json()["detail"] == (
        "your role does not see amounts, and this order would reveal them: use sort=newest or "
        "sort=oldest"
    )
    assert call("viewer", "/?sort=expected_loss").status_code == 403
    page = call("viewer", "/").text
    assert 'data-sort="newest"' in page
    assert "sort=expected_loss" not in page
    assert ">Expected loss</a>" not in page
    assert '<td class="c-loss num">hidden</td>' in page
    assert "Amount hidden" in call("viewer", "/t/0-0").text
    # A cursor is signed, and anybody can read it.
    for sort in ("newest", "oldest"):
        found = call("viewer", f"/api/v1/flags?limit=1&sort={sort}").json()
        sealed = found["next_cursor"] + "=" * (-len(found["next_cursor"]) % 4)
        assert orjson.loads(base64.urlsafe_b64decode(sealed)[16:])[0] == 0.0
        more = call("viewer", f"/api/v1/flags?limit=1&sort={sort}&cursor={found['next_cursor']}")
        assert [item["expected_loss"] for item in more.json()["items"]] == [0.0]
    assert call("analyst", "/api/v1/flags?sort=expected_loss").status_code == 200
    assert 'data-sort="expected_loss"' in call("analyst", "/").text
