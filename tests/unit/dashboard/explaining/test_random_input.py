"""Random input of the check page and of ``/predict``: an answer or a fault, never another error."""

from __future__ import annotations

import random
from collections.abc import Sequence
from urllib.parse import quote_from_bytes

import orjson

from dashboard.explaining.pasted import read_cells, read_pasted
from dashboard.predict_request import InvalidInput, TooManyRows
from dashboard.predicting import predict
from dashboard.web.explaining.checking import check
from dashboard.web.explaining.form import COLUMNS, read_form
from tests.support.dashboard_kit import make_transaction, tiny_bundle

PIECES = (
    b"TransactionAmt", b"card1", b"id-01", b"=", b"&", b",", b";", b"\n", b"\t", b'"', b"{", b"}",
    b"[", b"]", b":", b"null", b"NaN", b"1e308", b"1e999", b"-0", b"12,5", b"%ff", b"%00", b"\xff",
    b"\xf0\x9f\x98\x80", b"\\ud800", b"transactions", b"explain", b"shap", b"path", b"from", b"row",
    b"isFraud", b"TransactionDT", b"99999999999999999999", b"true", b"\x1f\x8b", b"\xef\xbb\xbf",
)  # fmt: skip
"""What the readers treat in some way of their own."""


def make_noise(pick: random.Random) -> bytes:
    return b"".join(pick.choices(PIECES, k=pick.randint(0, 25)))


def assert_can_be_sent(faults: Sequence[InvalidInput]) -> None:
    """Every fault is short, and valid Unicode."""
    assert len(faults) > 100
    for fault in faults:
        assert len(fault.summary) < 600
        assert orjson.dumps([fault.summary, *(one._asdict() for one in fault.faults)])


def test_readers_of_the_page_raise_only_faults() -> None:
    pick = random.Random(11)
    scored = 0
    faults: list[InvalidInput] = []
    bundle = tiny_bundle()
    for _ in range(3000):
        noise = make_noise(pick)
        text = noise.decode("utf-8", "surrogateescape")
        form = pick.choice([noise, b"from=row&row=" + quote_from_bytes(noise).encode()])
        for attempt in (
            lambda form=form: check(read_form(form), bundle, None),
            lambda text=text: read_pasted(text),
            lambda text=text: read_cells({pick.choice(list(COLUMNS)): text}),
        ):
            try:
                attempt()
                scored += 1
            except InvalidInput as fault:
                faults.append(fault)
            except TooManyRows:
                pass
    assert scored > 50
    assert_can_be_sent(faults)


def test_predict_raises_only_faults_for_broken_requests() -> None:
    pick = random.Random(12)
    bundle = tiny_bundle()
    whole = orjson.dumps({"transactions": [make_transaction(i) for i in range(3)]})
    scored = 0
    faults: list[InvalidInput] = []
    for _ in range(3000):
        body = bytearray(whole)
        for _ in range(pick.randint(0, 2)):
            at = pick.randrange(len(body))
            body[at : at + pick.randint(0, 8)] = pick.choice(PIECES)
        try:
            predict(bytes(body), bundle)
            scored += 1
        except InvalidInput as fault:
            faults.append(fault)
        except TooManyRows:
            pass
    assert scored > 100
    assert_can_be_sent(faults)
