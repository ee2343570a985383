"""Whatever the bytes are, the codec decodes or refuses them: a short run, always the same."""

from __future__ import annotations

import zlib

import pytest

from stream_scorer.features.history import codec
from tests.fuzz.histories import fuzz_histories


def test_histories_are_decoded_or_refused() -> None:
    *_, last = fuzz_histories(1500, seed=14)
    assert last["files"] == 1500
    assert last["decoded"] > 150
    assert last["refused"] > 800


def test_fuzzer_notices_an_error_that_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(stored: memoryview, target: memoryview) -> None:
        raw = zlib.decompressobj().decompress(stored, len(target) + 1)
        if len(raw) != len(target):
            raise ValueError("another size")
        target[:] = raw

    monkeypatch.setattr(codec, "_inflate", careless)
    with pytest.raises(AssertionError, match=r"seed 14, file \d+: error: Error -"):
        list(fuzz_histories(3000, seed=14))


def test_fuzzer_notices_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(stored: memoryview, target: memoryview) -> None:
        try:
            raw = zlib.decompress(stored)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(raw) != len(target):
            raise ValueError("another size")
        target[:] = raw

    monkeypatch.setattr(codec, "_inflate", careless)
    with pytest.raises(AssertionError, match="bytes of memory"):
        list(fuzz_histories(3000, seed=14))


def test_fuzzer_notices_a_digest_that_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_check_digest", lambda *_: None)
    with pytest.raises(AssertionError, match="the records are not those of the file"):
        list(fuzz_histories(3000, seed=14))
