"""``/predict`` and the API against their own OpenAPI description: a short run of ``make fuzz``."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.serving import fuzz_http, fuzzed_dashboard


def test_answers_are_the_documented_ones_whatever_is_sent(tmp_path: Path) -> None:
    with fuzzed_dashboard(tmp_path) as address:
        code, said = fuzz_http(
            address,
            tmp_path,
            examples=60,
            seed=1,
            phases="examples,fuzzing",
            only=["/predict", "/api/v1/flags", "/api/v1/flags/{flag_id}"],
        )
    assert code == 0, said
    assert "3 passed" in said
