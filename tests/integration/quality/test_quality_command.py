"""``quality`` on real Kafka: committed scores and labels, the store, and a run that continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.contracts import NUMBER_INDEX
from schemas.records import encode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.kafka.clients import open_producer
from stream_scorer.model.store.file_store import FileObjects
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import PARTITIONS, run_json
from tests.support.factories import make_batch, make_score
from tests.support.quality.kit import read_published
from tests.support.records import produce, wait_readable

N = 30


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    monkeypatch.setenv("MODEL_STORE_URI", path.as_uri())
    return path


def score(settings: GroupSettings, number: int) -> bytes:
    """The score of an input that ``produce`` wrote there; every third one is flagged."""
    place = number % PARTITIONS, number // PARTITIONS
    fields = make_score(settings.input_topic, *place, transaction_id=number)
    if number % 3 == 0:
        context = {"TransactionAmt": 10.0 + number, "ProductCD": "WC"[number % 2]}
        fields |= {"score": 0.75, "decision": "REVIEW", "is_flagged": True, "context": context}
    return encode_record("fraud_score", fields)


def label(number: int, word: str, origin: str = "ANALYST") -> bytes:
    fields = {"transaction_id": number, "label": word, "origin": origin}
    return encode_record("fraud_label", {**fields, "decided_by": "ana", "decided_at": 1})


def send_labels(settings: GroupSettings, labels: dict[int, bytes]) -> None:
    producer = open_producer(settings)
    for number, value in labels.items():
        producer.produce(settings.labels_topic, value, str(number).encode())
    producer.flush(30)


def run(
    settings: GroupSettings, capsys: pytest.CaptureFixture[str], *arguments: str
) -> dict[str, Any]:
    code, printed = run_json(settings, capsys, "quality", *arguments)
    assert code == 0, printed
    return dict(printed)


def test_runs_continue_and_late_labels_reach_scores_that_were_read_before(
    environment: GroupSettings, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, state = environment, ("--state", str(tmp_path / "scores"))
    inputs = encode_transactions(make_batch(N))
    produce(settings, settings.input_topic, inputs, PARTITIONS)
    produce(settings, settings.output_topic, [score(settings, i) for i in range(N)], PARTITIONS)
    wait_readable(settings, settings.output_topic)
    _abort_scores(settings)
    send_labels(settings, {i: label(i, "FRAUD") for i in (0, 3)} | {6: label(6, "LEGITIMATE")})
    wait_readable(settings, settings.labels_topic)
    first = run(settings, capsys, *state, "--publish")
    assert first["scores"] == N
    (version,) = first["versions"]
    assert version["review"] == N / 3
    reviewed = version["precision"]["review"]["reviewed"]
    assert (reviewed["value"], reviewed["n"]) == (pytest.approx(2 / 3), 3)
    assert version["money"]["caught"]["value"] == 10.0 + 13.0
    found = read_published(FileObjects(store))
    assert found is not None
    assert found["versions"] == json.loads(json.dumps(first["versions"]))

    # Labels about scores of the first run, and new scores of another version.
    send_labels(settings, {i: label(i, "FRAUD", "CHARGEBACK") for i in (1, 9)})
    more = [score(settings, i) for i in range(N, N + 6)]
    produce(settings, settings.output_topic, more, PARTITIONS)
    page, metrics = tmp_path / "quality.html", tmp_path / "live.prom"
    files = ("--html", str(page), "--metrics-file", str(metrics))
    wait_readable(settings, settings.output_topic)
    again = run(settings, capsys, *state, *files, "--maturity-days", "0")
    assert again["scores"] == N + 6
    (version,) = again["versions"]
    recall = version["recall"]["review"]["matured"]
    assert (recall["value"], recall["n"]) == (pytest.approx(3 / 4), 4)
    missed = version["money"]["missed"]
    assert (missed["frauds"], missed["frauds_of_unknown_amount"]) == (1, 0)
    amount = make_batch(N).numbers[1, NUMBER_INDEX["TransactionAmt"]]
    assert missed["value"] == pytest.approx(amount)
    recalls = [one["recall"]["review"]["matured"] for one in version["products"]]
    assert sum(one["n"] for one in recalls) == 4  # the product of the missed one was read too
    assert again["problems"] == {}
    assert "fraud_model_live_recall{" in metrics.read_text()
    assert "Precision at review" in page.read_text()
    # The file changes nothing: without it, the same figures.
    plain = run(settings, capsys, "--maturity-days", "0")
    assert plain["versions"] == again["versions"]
    unread = run(settings, capsys, "--maturity-days", "0", "--no-amounts")
    assert unread["versions"][0]["money"]["missed"]["frauds_of_unknown_amount"] == 1


def _abort_scores(settings: GroupSettings) -> None:
    """Scores of an aborted Kafka transaction, which nobody may count."""
    producer = open_producer(settings, **{"transactional.id": settings.output_topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.output_topic, score(settings, 999), b"1", 0)
    producer.flush(30)
    producer.abort_transaction(30)


def test_no_score_is_no_success_and_replaces_nothing(
    environment: GroupSettings, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = run_json(environment, capsys, "quality", "--publish")
    assert (code, printed["scores"], printed["versions"]) == (1, 0, [])
    assert read_published(FileObjects(store)) is None
