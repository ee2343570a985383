"""Score records with numbers and lengths that no scorer writes: the feed and the pages go on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.cache.flag_table import Counts
from dashboard.feed.prefix import read_prefix, read_varint
from dashboard.feed.reading import FlagReader, Sample, Unsaved
from schemas.resolver import LocalSchemas
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.waiting import wait_until

FRAME = 10  # bytes of single-object encoding


def test_scores_with_numbers_that_are_not_finite_break_no_page(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    reasons = [
        {"feature": "D2", "value": "0", "contribution": math.nan},
        {"feature": "C13", "value": None, "contribution": math.inf},
        {"feature": "C1", "value": "1", "contribution": 0.5},
    ]
    topic.append(encode_score(make_score(0.9, reasons=reasons)))
    topic.append(encode_score(make_score(0.9, scored_at=2**63 - 1)))
    for bad in (math.inf, -math.inf, math.nan):
        for name in ("review_threshold", "block_threshold"):
            topic.append(encode_score(make_score(0.9, **{name: bad})))
            topic.append(encode_score(make_score(0.1, **{name: bad})))
    app = make_app(tmp_path, topic)
    board = app.state.parts.board
    with TestClient(app, "http://127.0.0.1") as client:
        wait_until(lambda: board.counts.unreadable + board.counts.scored == 14, what="the records")
        flags = client.get("/api/v1/flags").json()["items"]
        ids = [flag["id"] for flag in flags]
        paths = ["/", "/?sort=newest", "/api/v1/stats/histogram", "/api/v1/threshold", "/threshold"]
        paths += [f"/t/{one}" for one in ids]
        paths += [f"/api/v1/flags/{one}/related" for one in ids]
        assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
    assert board.counts.unreadable == 12
    assert len(ids) == 2
    (named,) = (flag["reasons"] for flag in flags if len(flag["reasons"]) == 1)
    assert named[0]["feature"] == "C1"


@pytest.mark.parametrize("offset", [16, 17])  # one in 16 is measured
def test_a_score_that_ends_inside_its_times_does_not_stop_the_reader(offset: int) -> None:
    samples: list[Sample] = []
    reader = FlagReader("scores", LocalSchemas("fraud_score"), "input", samples.append)
    good = encode_score(make_score(0.1))
    start = read_prefix(good, FRAME).end + 16
    length, at = read_varint(good, start)
    _, end = read_varint(good, at + length)
    unsaved, counts = Unsaved(), Counts()
    reader.read([(0, 0, good)], unsaved, counts)
    known = unsaved.stamp
    reader.read([(0, offset, good[:end])], unsaved, counts)
    assert known is not None
    assert unsaved.stamp == known
    assert unsaved.positions == {0: offset + 1}
    assert len(samples) == 1
    reader.read([(0, offset + 1, good)], unsaved, counts)
    assert counts.scored == 3
