"""A challenger beside a scorer on real Kafka: its scores are on a topic of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.shadow.compare.topics import TopicPairs
from tests.conftest import MakeTopics
from tests.support.factories import make_draft, make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import Seen, produce, read_all
from tests.support.scorer_kit import outcomes, running, scorer_settings
from tests.support.waiting import wait_until
from trainer.commands.parser import build_parser
from trainer.settings import TrainerSettings

ROWS = 200


def test_challengers_scores_have_the_places_and_keys_of_the_champions(
    kafka: KafkaUnderTest,
    topics: MakeTopics,
    group_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = topics(2)
    store = FileStore(tmp_path / "store")
    publish(store)
    store.publish(*build_files(make_draft(seed=2)))
    store.challenge("v2", store.challenger())
    values: list[bytes | None] = list(encode_transactions(build_batch(make_transactions(ROWS))))
    rounds = 0

    def shadow() -> list[Seen]:
        return read_all(kafka.settings, names.shadow_topic)

    def more() -> bool:
        """Produce until the challenger is there: the scorer does not wait for it."""
        nonlocal rounds
        rounds += 1
        produce(kafka.settings, names.input_topic, values, partitions=2)
        wait_until(lambda: len(outcomes(kafka, names)[0]) == rounds * ROWS, what="scores")
        return bool(shadow())

    settings = scorer_settings(kafka, names, group_id, tmp_path)
    # Tests keep all processors busy.
    settings = settings.model_copy(update={"shadow_spare_cpu_only": False})
    with running(settings):
        wait_until(more, what="the challenger's first scores")
        # As many as a round has: where this machine is busy, the challenger leaves out some.
        wait_until(lambda: more() and len(shadow()) > ROWS, what="many of its scores")
    champion = {_place(s): s for s in outcomes(kafka, names)[0]}
    assert {decode_record("fraud_score", s.value)["model_version"] for s in champion.values()} == {
        "v1"
    }
    found = shadow()
    assert len({_place(s) for s in found}) == len(found)
    for seen in found:
        other = champion[_place(seen)]
        assert (seen.partition, seen.key) == (other.partition, other.key)
        assert decode_record("fraud_score", seen.value)["model_version"] == "v2"
        assert seen.headers["model-version"] == b"v2"
    pairs = list(TopicPairs(settings, "v1", "v2", since=0).read())
    places = {(p.partition, o) for p in pairs for o in p.champion.offsets.tolist()}
    assert places == {_place(seen) for seen in found}
    for part in pairs:
        for row, offset in enumerate(part.champion.offsets.tolist()):
            score = decode_record("fraud_score", champion[part.partition, offset].value)
            assert part.champion.scores[row] == score["score"]
    cards = {int(card) for part in pairs for card in part.champion.cards}
    assert len(cards) == 7  # as many as keys
    assert list(TopicPairs(settings, "v2", "v1", since=0).read()) == []
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.settings.kafka_bootstrap_servers)
    for name, topic in names.model_dump().items():
        monkeypatch.setenv(name.upper(), topic)
    arguments = build_parser().parse_args(["models", "compare", "v1", "v2", "--json", "--publish"])
    assert arguments.run(arguments, TrainerSettings(model_store_uri=settings.model_store_uri)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["rows"], printed["verdict"]) == (len(found), "cannot tell yet")
    published = store.read_comparison("v1", "v2")
    assert published is not None
    assert json.loads(published) == printed


def _place(seen: Seen) -> tuple[int, int]:
    source = decode_record("fraud_score", seen.value)["source"]
    return source["partition"], source["offset"]
