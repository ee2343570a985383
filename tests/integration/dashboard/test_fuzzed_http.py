"""Checks ``/predict`` and the API against their OpenAPI document: a short run of ``make fuzz``."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.serving import fuzz_http, fuzzed_dashboard


def test_responses_to_fuzzed_requests_match_the_openapi_document(tmp_path: Path) -> None:
    with fuzzed_dashboard(tmp_path) as address:
        code, output = fuzz_http(
            address,
            tmp_path,
            examples=60,
            seed=1,
            phases="examples,fuzzing",
            only=["/predict", "/api/v1/flags", "/api/v1/flags/{flag_id}"],
        )
    assert code == 0, output
    assert "3 passed" in output
