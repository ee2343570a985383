"""A published version that reads card history, with a seed of some transactions if wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from schemas.batch import build_batch
from stream_scorer.features.history.codec import encode_seed
from stream_scorer.features.history.header import SeedHeader
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.bundle import build_files
from stream_scorer.model.bundled_history import SeedFacts
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.port import ArtifactStore
from tests.support.state.history_kit import fold
from tests.support.training.history_kit import make_history_draft, make_spec

SPEC: Final[HistorySpec] = make_spec()


def publish_history(
    store: ArtifactStore,
    histories: HistoryStore,
    past: Sequence[dict[str, Any]] = (),
    *,
    is_promoted: bool = True,
) -> str:
    """Publish a version whose features read card history; its seed is the history of ``past``."""
    draft = make_history_draft()
    if past:
        assert draft.history is not None
        seed = write_seed(histories, past)
        draft = replace(draft, history=replace(draft.history, seed=seed))
    version = store.publish(*build_files(draft))
    if is_promoted:
        store.promote(version, store.current())
    return version


def write_seed(histories: HistoryStore, past: Sequence[dict[str, Any]]) -> SeedFacts:
    """Store the history of transactions as a seed."""
    history: PartitionHistory = fold(SPEC, build_batch(past))[1]
    as_of = max(row["TransactionDT"] for row in past)
    content = encode_seed(SeedHeader(SPEC.fingerprint, as_of), history.records())
    sha256 = histories.write_seed(content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    return SeedFacts(sha256, len(content), as_of, dict(history.sizes().keys))
