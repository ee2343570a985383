"""What counting features for drift costs: the scorer's pipeline with and without, in turn.

``python -m tests.bench.drift_cost`` decodes, scores and encodes the same batches with two pipelines
that differ in nothing else, in one process and alternately, and counts as a scorer does. The last
line of standard output is a JSON object with the figures. Publishing and committing cost time too,
so the share of a whole scorer's time is smaller than the share printed here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from typing import Final

import numpy as np

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.model.bundle import Bundle, build_files, load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Polled
from tests.bench.contestants import synthetic_rows, train_draft
from trainer.evaluation.reference import TOP_FEATURES, reference_facts

_SCRAPED_ROWS: Final = 1_000_000  # between two scrapes: 15 s at 67,000 rows/s


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drift_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="rounds of each (25)")
    parser.add_argument("--batches", type=int, default=5, help="batches a round (5)")
    parser.add_argument("--batch", type=int, default=2000, help="records in a batch (2000)")
    parser.add_argument("--trees", type=int, default=800, help="trees of the model (800)")
    parser.add_argument("--leaves", type=int, default=200, help="leaves of a tree (200)")
    args = parser.parse_args()
    bundle, polls = _world(args.batches, args.batch, args.trees, args.leaves)
    metrics = ScorerMetrics()
    took: dict[bool, list[float]] = {False: [], True: []}
    pipelines = {counts: _pipeline(with_sample=counts) for counts in took}
    rows = args.batches * args.batch
    for number in range(args.rounds + 1):
        for counts in (False, True) if number % 2 else (True, False):
            began = time.perf_counter()
            for polled in polls:
                outcome = pipelines[counts].process(polled, bundle, 1)
                metrics.drift.committed(outcome.sample)
            if number:  # the first round compiles
                took[counts].append((time.perf_counter() - began) / rows * 1e6)
    ratios = [b / a - 1 for a, b in zip(took[False], took[True], strict=True)]
    began = time.perf_counter()
    metrics.render()
    scrape = (time.perf_counter() - began) / _SCRAPED_ROWS * 1e6
    found = {
        "features": TOP_FEATURES,
        "microseconds_a_row": {
            "without": round(statistics.median(took[False]), 3),
            "with": round(statistics.median(took[True]), 3),
            "scrape": round(scrape, 4),
        },
        "more_time_percent": {
            "median": round(statistics.median(ratios) * 100, 2),
            "of_fastest_rounds": round((min(took[True]) / min(took[False]) - 1) * 100, 2),
        },
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _world(batches: int, size: int, trees: int, leaves: int) -> tuple[Bundle, list[Polled]]:
    """A large model with reference histograms, and batches of Avro records."""
    stream, _ = synthetic_rows(batches * size, 21)
    model, rest = build_files(train_draft(load_builtin(IEEE_CIS), trees, leaves, stream))
    bundle = load_bundle({"model.pkl": model, **rest("v1")}, "v1")
    scores, names = score(stream, bundle).scores, bundle.features.names
    reference = reference_facts(stream, scores, bundle.features, names, "test")
    bundle = replace(bundle, metadata={**bundle.metadata, "reference": reference})
    values = encode_transactions(stream)
    nothing = [None] * size
    polls = [
        Polled(
            "transactions",
            values[begin : begin + size],
            nothing,
            nothing,
            np.zeros(size, np.int32),
            np.arange(begin, begin + size, dtype=np.int64),
            None,
        )
        for begin in range(0, batches * size, size)
    ]
    return bundle, polls


def _pipeline(*, with_sample: bool) -> Pipeline:
    head = prefix(schema_fingerprint(load_schema("fraud_score")), None)
    to = Destinations("scores", "dead", head, {})
    return Pipeline(TransactionDecoder(LocalSchemas()), to, with_sample=with_sample)


if __name__ == "__main__":
    sys.exit(main())
