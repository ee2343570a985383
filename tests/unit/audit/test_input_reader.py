"""Which inputs an audit decodes."""

from __future__ import annotations

import numpy as np
import pytest

from stream_scorer.audit.records.outcome_reader import is_sampled


@pytest.mark.parametrize("sample", [2, 10, 1000])
@pytest.mark.parametrize("step", [1, 10, 64])
def test_sample_has_its_share_of_offsets_whatever_their_spacing(sample: int, step: int) -> None:
    offsets = np.arange(0, 100_000 * step, step) + 2**40
    share = float(is_sampled(offsets, sample).mean())
    assert 0.9 / sample < share < 1.1 / sample


def test_sample_depends_only_on_the_offset() -> None:
    offsets = np.arange(5000)
    chosen = is_sampled(offsets, 7)
    assert (is_sampled(offsets[100:], 7) == chosen[100:]).all()


def test_sample_of_1_is_all_and_sample_of_0_is_none() -> None:
    assert is_sampled(np.arange(100), 1).all()
    assert not is_sampled(np.arange(100), 0).any()
