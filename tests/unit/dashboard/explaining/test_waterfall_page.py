"""The waterfall on a page without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dashboard.explain import build_waterfall
from stream_scorer.model.scoring import Reason, score
from tests.support.dashboard_kit import make_app
from tests.support.factories import make_batch, make_bundle

MINUS = "\N{MINUS SIGN}"


def render(folder: Path, waterfall: Any) -> str:
    env = make_app(folder).state.parts.templates.env
    return str(env.get_template("_waterfall.html").render(waterfall=waterfall))


def test_page_shows_each_step_and_escapes_values(tmp_path: Path) -> None:
    bundle = make_bundle()
    scores = score(make_batch(1, 1), bundle)
    raw, value = float(scores.raw[0]), float(scores.scores[0])
    reasons = [
        Reason("DeviceInfo", "<b>x</b>", 1.25),
        Reason("D2", None, 0.5),
        Reason("C1", "0", -0.25),
    ]
    found = build_waterfall(bundle, -2.0, reasons, raw, value)
    for waterfall in (found, found.as_json()):
        page = render(tmp_path, waterfall)
        assert "&lt;b&gt;x&lt;/b&gt;" in page
        assert "<b>x" not in page
        cells = re.findall(r'<td class="num">(?:<span class="sr">(.*?)</span>)?(.*?)</td>', page)
        assert [what for what, _ in cells[2:8:2]] == ["raises by ", "raises by ", "lowers by "]
        assert [number for _, number in cells[::2]][:4] == [
            f"{MINUS}2.00",
            "+1.25",
            "+0.50",
            f"{MINUS}0.25",
        ]
        assert page.count("<rect") == 4  # pushes and rest
        assert "<i>missing</i>" in page
        assert 'title="The time since an earlier event (D2) is missing."' in page


def test_page_says_why_there_is_no_waterfall(tmp_path: Path) -> None:
    found = build_waterfall(make_bundle(), 0.0, [], 0.0, 0.5).as_json() | {"reason": "Because <x>."}
    assert render(tmp_path, found).strip() == '<p class="dim">Because &lt;x&gt;.</p>'
