"""The commands of the runbooks, run by a user with the ACLs from the guide."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from schemas.records import encode_record
from stream_scorer.__main__ import main
from stream_scorer.dead_letters.dead_letter import read_dead_letters
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.reader import committed_spans
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import TopicSettings, load_settings
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import PARTITIONS, give_outcomes, send, with_inputs
from tests.support.drift.kit import facts_of
from tests.support.factories import make_batch, make_score, publish, publish_only
from tests.support.kafka.bomb import produce_bomb
from tests.support.kafka.secured_kafka import (
    SecuredKafka,
    operator_rights,
    report_rights,
    secured_kafka,
)
from tests.support.records import Seen, produce
from tests.support.state.history_kit import encode_rows, make_card_rows
from tests.support.state.published import SPEC, publish_history
from tests.support.stores import store_settings
from trainer.__main__ import main as trainer

TOPICS = TopicSettings(
    input_topic="in", output_topic="scores", dlq_topic="dead-letters", labels_topic="labels"
)
GROUP = "fraud"
PASSWORD = "correct-horse-battery"
COMMANDS = [
    ("topics", "list"),
    ("verify",),
    ("replay", "--model", "v1", "--since", "1h", "--labels"),
    ("tail", "--from-beginning", "--limit", "1"),
    ("dlq", "list"),
    ("dlq", "allow", "5"),
    ("dlq", "redrive", "--stage", "score", "--dry-run"),
    ("dlq", "redrive", "--stage", "score"),
]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, kafka_kind: str) -> Iterator[SecuredKafka]:
    if kafka_kind != "embedded":
        pytest.skip("starts its own broker: only with --kafka embedded")
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        create_topics(open_admin(kafka.inside), wanted_topics(TOPICS), PARTITIONS, 1)
        kafka.add_user("operator", PASSWORD)
        kafka.grant(operator_rights("User:operator", TOPICS, GROUP).values())
        yield kafka


@pytest.fixture
def as_operator(secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[GroupSettings]:
    """Set the environment for the operator's commands; yields settings for the test itself."""
    inside = load_settings(
        GroupSettings,
        secured.inside.model_dump() | TOPICS.model_dump() | {"kafka_group_id": GROUP},
    )
    values = {name.upper(): str(value) for name, value in TOPICS.model_dump().items()}
    values |= secured.by_scram("operator", PASSWORD) | {"KAFKA_GROUP_ID": GROUP}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield inside
    root.handlers[:], root.level = handlers, level


def run_allowed(
    run: Callable[[list[str]], int], command: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a command; it succeeds, and Kafka denies it nothing."""
    code = run(list(command))
    printed = capsys.readouterr()
    assert code == 0, (command, printed.out, printed.err)
    assert "AUTHORI" not in (printed.out + printed.err).upper(), (command, printed)


def test_commands_of_the_runbooks_work_with_the_operators_acls(
    as_operator: GroupSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore(tmp_path / "store")
    publish(store)
    monkeypatch.setenv("MODEL_STORE_URI", store.where)
    give_outcomes(as_operator, with_inputs(as_operator, 9), ["score", None])
    (dead_letter, *_) = read_dead_letters(as_operator)
    for command in [*COMMANDS, ("dlq", "show", dead_letter.place)]:
        run_allowed(main, command, capsys)


def test_history_commands_work_with_the_operators_acls(
    as_operator: GroupSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore(tmp_path / "store")
    histories = open_history_store(store_settings(model_store_uri=store.where))
    publish_history(store, histories)
    monkeypatch.setenv("MODEL_STORE_URI", store.where)
    produce(as_operator, TOPICS.input_topic, encode_rows(make_card_rows(20)), PARTITIONS)
    for command in (("build", "--cold"), ("status",), ("show", "1000"),
                    ("build", "--from", "snapshots")):  # fmt: skip
        run_allowed(main, ("history", *command), capsys)
    assert histories.eras(SPEC.fingerprint) == [1, 2]


def test_nightly_reports_work_with_rights_to_read_alone(
    secured: SecuredKafka,
    as_operator: GroupSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore(tmp_path / "store")
    publish_only(store, facts_of(make_batch(2000, 99)))
    publish_only(store, {}, seed=2)
    store.promote("v1", None)
    store.challenge("v2", store.challenger())
    monkeypatch.setenv("MODEL_STORE_URI", store.where)
    inputs = with_inputs(as_operator, 600)
    for topic, version in ((TOPICS.output_topic, "v1"), (TOPICS.shadow_topic, "v2")):
        give_scores(as_operator, topic, inputs, version)
    secured.add_user("reports", PASSWORD)
    secured.grant(report_rights("User:reports", TOPICS).values())
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "reports")
    for run, command in (
        (main, ("quality", "--since", "1h", "--publish")),
        (main, ("drift", "--since", "1h", "--publish")),
        (trainer, ("models", "compare", "--since", "1h", "--publish")),
    ):
        run_allowed(run, (*command, "--json"), capsys)
    names = {str(path.relative_to(tmp_path / "store")) for path in tmp_path.rglob("*.json")}
    assert {"quality/latest.json", "drift/latest.json", "comparisons/v1-v2.json"} <= names


def give_scores(settings: GroupSettings, topic: str, inputs: Sequence[Seen], version: str) -> None:
    """Write a score of this version for each input."""
    producer = open_producer(settings)
    for n, record in enumerate(inputs):
        place = (settings.input_topic, record.partition, record.offset)
        score = make_score(*place, transaction_id=n, model_version=version)
        send(producer, topic, record, encode_record("fraud_score", score))
    producer.flush(60)


def test_redrive_without_write_access_to_the_input_is_refused(
    secured: SecuredKafka, as_operator: GroupSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured.add_user("reader", PASSWORD)
    rights = operator_rights("User:reader", TOPICS, GROUP)
    secured.grant(binding for name, binding in rights.items() if name != "input")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "reader")
    give_outcomes(as_operator, with_inputs(as_operator, 3), ["schema"])
    assert main(["dlq", "list"]) == 0
    assert main(["dlq", "redrive", "--stage", "schema"]) == 1


def test_skip_works_with_the_operators_acls(
    as_operator: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with_inputs(as_operator, 3)
    topic = as_operator.input_topic
    end = committed_spans(as_operator, "reader", topic, PARTITIONS)[0].high
    produce_bomb(as_operator, 0)  # the last test here: others cannot read past it
    scorers = open_consumer(as_operator, GROUP)
    scorers.commit(offsets=[TopicPartition(topic, 0, end)], asynchronous=False)
    scorers.close()
    code = main(["dlq", "skip", f"0-{end}"])
    printed = capsys.readouterr()
    assert code == 0, (printed.out, printed.err)
    assert f"continues at offset {end + 1} of in partition 0" in printed.out
