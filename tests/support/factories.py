"""Small test data: transactions, models, bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from schemas.batch import TransactionBatch, build_batch
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from stream_scorer.model.bundle import Bundle, Draft, Thresholds, build_files, load_bundle
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.openmp import load_openmp


def make_transaction(number: int = 1, amount: float = 50.0, **fields: Any) -> dict[str, Any]:
    """A transaction as the contract's JSON object; any column can be given."""
    return {
        "TransactionID": number,
        "TransactionDT": 86_400 + 60 * number,
        "TransactionAmt": amount,
        "ProductCD": "W",
        "card1": 1000.0 + number % 7,
        "card4": "visa",
        **fields,
    }


def make_transactions(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Varied transactions; beyond the first few columns, a third are present."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        row = make_transaction(
            i + 1,
            float(np.round(rng.gamma(2.0, 60.0) + 0.5, 2)),
            card1=float(rng.integers(1000, 1030)),
            addr1=float(rng.integers(100, 110)),
            C1=float(rng.integers(0, 9)),
            D1=float(rng.integers(0, 300)),
            V45=float(rng.integers(0, 4)),
            V258=float(np.round(rng.exponential(20.0), 4)),
            P_emaildomain=str(rng.choice(["gmail.com", "yahoo.com", "anonymous.com"])),
        )
        if i % 3 == 0:
            row |= {"R_emaildomain": "gmail.com", "DeviceType": "mobile", "id_02": 1234.5}
        if i % 5 == 0:
            del row["card4"]
        rows.append(row)
    return rows


def make_score(topic: str, partition: int, offset: int, **fields: Any) -> dict[str, Any]:
    """A minimal valid score of one input record, as the contract's record."""
    return {
        "transaction_id": 1,
        "score": 0.25,
        "decision": "APPROVE",
        "is_flagged": False,
        "review_threshold": 0.5,
        "block_threshold": 0.9,
        "model_version": "v1",
        "scored_at": 1_700_000_000_000,
        "event_time": None,
        "reasons": [],
        "source": {"topic": topic, "partition": partition, "offset": offset},
        "context": None,
        "is_sampled": False,
        **fields,
    }


def make_batch(n: int = 200, seed: int = 1) -> TransactionBatch:
    """Varied transactions as columns."""
    return build_batch(make_transactions(n, seed))


def make_program(min_count: int = 5) -> Program:
    """A program for few rows: the built-in one, whose levels need to be seen less often."""
    return load_builtin(IEEE_CIS).with_min_count(min_count)


def train_text(
    matrix: Any, names: tuple[str, ...], seed: int = 1, trees: int = 20, label: Any = None
) -> str:
    """A small LightGBM model of a synthetic label, or of the one given, as text."""
    if label is None:
        rng = np.random.default_rng(seed)
        amount, count = matrix[:, names.index("TransactionAmt")], matrix[:, names.index("C1")]
        label = (amount / 100 + count / 4 + rng.normal(0, 1, len(matrix))) > 3
    params = {
        "objective": "binary",
        "num_leaves": 15,
        "learning_rate": 0.2,
        "min_data_in_leaf": 5,
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "seed": seed,
    }
    load_openmp()
    import lightgbm

    data = lightgbm.Dataset(matrix, label.astype(int), feature_name=list(names))
    text: str = lightgbm.train(params, data, trees).model_to_string()
    return text


@cache
def make_draft(seed: int = 1, review: float = 0.5, block: float = 0.9) -> Draft:
    """A trained model before publication."""
    batch = make_batch(400, seed)
    features, matrix = FeatureSet.fit_transform(batch, make_program())
    text = train_text(matrix, features.names, seed)
    facts = {"metrics": {"note": "made by a test"}}
    return Draft(text, features, Thresholds(review, block), batch.take(slice(0, 16)), facts)


@cache
def make_files(version: str = "v1", seed: int = 1, review: float = 0.5) -> dict[str, bytes]:
    """The files of a version."""
    model, rest = build_files(make_draft(seed, review))
    return {"model.pkl": model, **rest(version)}


@cache
def make_bundle(version: str = "v1", seed: int = 1, review: float = 0.5) -> Bundle:
    """A verified bundle."""
    return load_bundle(make_files(version, seed, review), version)


def publish(store: ArtifactStore, seed: int = 1, review: float = 0.5) -> str:
    """Publish and promote a small model; returns its version."""
    version = store.publish(*build_files(make_draft(seed, review)))
    store.promote(version, store.current())
    return version


def publish_only(store: ArtifactStore, facts: Mapping[str, Any], seed: int = 1) -> str:
    """Publish a small model with these facts in its metadata, without promoting it."""
    draft = make_draft(seed)
    return store.publish(*build_files(replace(draft, facts={**draft.facts, **facts})))
