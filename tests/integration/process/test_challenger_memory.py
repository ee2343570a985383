"""A challenger that takes 2 GiB, and a scorer beside it, in a real memory cgroup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.shadow import limits
from tests.support.factories import make_draft
from tests.support.shadow.memory_cgroup import MemoryCgroup, NoMemoryCgroup, limit_memory_to

LIMIT_BYTES = 700 * 1024 * 1024
PROGRAM = (sys.executable, "-m", "tests.support.shadow.scorer_in_container")
SECONDS = 240.0


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(limit_memory_to(LIMIT_BYTES))
        except NoMemoryCgroup as error:
            pytest.skip(f"needs a memory controller that this user may write: {error}")
        yield found


def test_kernel_ends_a_challenger_that_takes_2_gib_and_never_the_scorer(
    cgroup: MemoryCgroup, tmp_path: Path
) -> None:
    """Its own limit stops private memory; for all else the container's memory is used up."""
    store = FileStore(tmp_path / "store")
    for seed in (1, 2):
        store.publish(*build_files(make_draft(seed)))
    cgroup.show_as_container(tmp_path / "cgroup")
    words = (*PROGRAM, str(tmp_path / "cgroup"), (tmp_path / "store").as_uri())
    environment = {"BAD_CHALLENGER": "memory,score,shared", "BAD_CHALLENGER_ALONE": "1"}
    ended = subprocess.run(
        cgroup.command(*words), env=os.environ | environment, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["limit"] == LIMIT_BYTES
    assert limits.LEAST_MEMORY_BYTES <= found["allowed"] < limits.MEMORY_BYTES
    assert cgroup.kills() == 1  # the challenger: the scorer ended by itself, and said what follows
    assert LIMIT_BYTES * 0.9 < cgroup.peak() <= LIMIT_BYTES
    assert found["errors"] >= 5
    assert found["is_same"]
    assert found["outcomes"] == 40
    assert found["used_after"] < LIMIT_BYTES // 2
