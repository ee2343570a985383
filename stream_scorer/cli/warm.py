"""``stream-scorer warm``: compiles the kernels before the first start.

They are the kernels that a scorer compiles before it joins its group, and those of ``verify``.
"""

from __future__ import annotations

import argparse
import time
from typing import Final

import numpy as np

from schemas.batch import build_batch
from schemas.resolver import LocalSchemas
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.cli.console import say
from stream_scorer.process.warm import TOPIC, encode_sample_scores, warm

_ROW: Final = {"TransactionID": 1, "TransactionDT": 86400, "TransactionAmt": 1.0}


def warm_all() -> float:
    """Run each kernel of the scorer and of the audit once; returns the seconds it took."""
    started = time.monotonic()
    warm()
    written = encode_sample_scores(build_batch([_ROW]), np.ones(1))
    reader = ScoreReader(LocalSchemas("fraud_score"), TOPIC)
    for count in (1, 2):  # a column of one row is contiguous, which is another type to the compiler
        reader.sources(written * count)
    return time.monotonic() - started


def run_warm(_: argparse.Namespace) -> int:
    """The ``warm`` command."""
    say(f"kernels compiled ({warm_all():.1f} s)")
    return 0
