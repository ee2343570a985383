"""A program with card history, rows for it, and what their history is by another way."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.program import Program, parse_program
from stream_scorer.model.bundle import Draft, Thresholds, build_files
from stream_scorer.model.bundled_history import HistoryDraft
from tests.support.factories import train_text
from trainer.data.ingest import TrainingRows, ingest
from trainer.data.labels import Labelling
from trainer.data.rows import Part, join_rows
from trainer.data.source import SyntheticSource
from trainer.history.golden_stream import golden_stream
from trainer.history.rows import compute_history

HEAD: Final = 'format = 1\nname = "small/1"\ntitle = "A few columns and card history"\n'

COLUMNS: Final = """
[[operation]]
op = "copy"
version = 1
group = "amount"
columns = ["TransactionAmt", "C1..C14", "D1..D15", "V44", "V45", "V86", "V87", "V258", "V307"]

[[operation]]
op = "code"
version = 1
group = "texts"
columns = ["ProductCD", "P_emaildomain"]
min_count = 2
"""

CLIENT: Final = """
[[history]]
space = "client"
version = 1
key = ["card1", "addr1"]
start_day = "D1"
ttl_days = 180
ring = 8

[[history.features]]
kind = "count"
group = "times"

[[history.features]]
kind = "gap"
group = "times"

[[history.features]]
kind = "mean_amount"
group = "amounts"

[[history.features]]
kind = "count_in"
group = "windows"
seconds = [3600, 604800]

[[history.features]]
kind = "decayed_amount"
group = "windows"
seconds = [86400]

[[history.features]]
kind = "minus_mean"
group = "means"
columns = ["C13", "V45"]

[[history.features]]
kind = "is_new"
group = "sets"
columns = ["P_emaildomain"]
"""

MAIL: Final = """
[[history]]
space = "mail"
version = 1
key = ["card1", "P_emaildomain"]
ttl_days = 90
ring = 4

[[history.features]]
kind = "count"
group = "mail"

[[history.features]]
kind = "amount_in"
group = "mail"
seconds = [86400]
"""

CARD: Final = """
[[history]]
space = "card"
version = 1
key = ["card1"]
ttl_days = 90
ring = 4

[[history.features]]
kind = "count_in"
group = "card"
seconds = [3600]

[[history.features]]
kind = "gap_before"
group = "card"
"""

PARTITIONS: Final = 12


@cache
def make_history_program(*spaces: str) -> Program:
    """A few columns, and the key spaces ``client`` and ``mail`` or those given as text."""
    return parse_program(HEAD + COLUMNS + "".join(spaces or (CLIENT, MAIL)))


def make_spec(*spaces: str) -> HistorySpec:
    """The history of that program."""
    spec = make_history_program(*spaces).history
    assert spec is not None
    return spec


def read_rows(n: int = 3000, seed: int = 3, labelling: Labelling | None = None) -> TrainingRows:
    """Synthetic rows as they were read."""
    return ingest(SyntheticSource(n, seed, labelling or Labelling()), lambda _: None)


@cache
def joined_rows(n: int = 3000, seed: int = 3) -> Part:
    """The same rows in one batch, in time order."""
    return join_rows(read_rows(n, seed))


def by_partition(
    spec: HistorySpec, batch: TransactionBatch, blocks: tuple[int, ...] = (2000,)
) -> NDArray[np.float64]:
    """The features as scorers compute them: a state for each of twelve partitions, in batches.

    Rows are dealt to partitions by their card. ``blocks`` are the sizes of the batches, in turn.
    """
    histories = [PartitionHistory(spec, 10**6) for _ in range(PARTITIONS)]
    cards = np.nan_to_num(batch.numbers[:, NUMBER_INDEX["card1"]]).astype(np.int64)
    advances = np.ones(len(batch), np.bool_)
    out = np.full((len(batch), len(spec.names)), 7.0)
    first = turn = 0
    while first < len(batch):
        rows = np.arange(first, min(len(batch), first + blocks[turn % len(blocks)]))
        for partition, history in enumerate(histories):
            mine = rows[cards[rows] % PARTITIONS == partition]
            history.settle(history.step(batch, mine, advances, out))
        first, turn = int(rows[-1]) + 1, turn + 1
    return out


@cache
def make_history_draft(n: int = 1500) -> Draft:
    """A small model whose features read card history, before it is published."""
    program, rows = make_history_program(), read_rows(n)
    assert program.history is not None
    history = compute_history(rows, program.history, lambda _: None).columns
    batch = join_rows(rows).batch.with_history(history)
    features, matrix = FeatureSet.fit_transform(batch, program)
    text = train_text(matrix, features.names)
    draft = HistoryDraft(golden_stream(program.history))
    golden = batch.take(slice(n - 40, None))
    facts = {"metrics": {"note": "made by a test"}}
    return Draft(text, features, Thresholds(0.5, 0.9), golden, facts, None, draft)


@cache
def make_history_files(version: str = "v1") -> dict[str, bytes]:
    """The files of a version whose features read card history."""
    model, rest = build_files(make_history_draft())
    return {"model.pkl": model, **rest(version)}


def same_bits(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two arrays are equal in every bit."""
    return bool(np.array_equal(a.view(np.uint64), b.view(np.uint64)))
