"""SCRAM over TLS, mutual TLS and the minimal ACLs, end to end on an embedded Kafka."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dashboard.cases.case import Who
from dashboard.cases.events import make_event
from dashboard.cases.kafka_log import KafkaLog
from dashboard.cases.log import Channel, NewRecord
from dashboard.feed.source import KafkaScores
from dashboard.history.kafka_log import KafkaStreamLog
from schemas.batch import build_batch
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.kafka.spans import Span
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.process.scorer import ScorerProcess
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings, load_settings
from stream_scorer.settings import GroupSettings, ScorerSettings
from tests.support.factories import make_transactions, publish
from tests.support.kafka.secured_kafka import (
    SecuredKafka,
    dashboard_rights,
    follower_rights,
    history_rights,
    reader_right,
    scorer_rights,
    secured_kafka,
)
from tests.support.processes import fleet
from tests.support.records import produce, read_all, wait_readable
from tests.support.state.history_kit import encode_rows, make_card_rows
from tests.support.state.kit import NotedFaults
from tests.support.state.published import publish_history
from tests.support.stores import store_settings
from tests.support.waiting import wait_until

PASSWORD = "correct-horse-battery"
WRONG = "wrong-horse-battery"
SETTINGS = ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
TOPICS = TopicSettings(
    input_topic="in", output_topic="scores", dlq_topic="dead-letters", labels_topic="labels"
)

FROM_START = ("-m", "stream_scorer", "run", "--from-start")
"""The tests share the topics: a new group finds outcomes, may not read them, and would ask."""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, kafka_kind: str) -> Iterator[SecuredKafka]:
    if kafka_kind != "embedded":
        pytest.skip("starts its own broker: only with --kafka embedded")
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        create_topics(open_admin(kafka.inside), wanted_topics(TOPICS), 1, 1)
        yield kafka


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secured-store")
    publish(FileStore(folder / "store"))
    return folder


def user(
    secured: SecuredKafka, name: str, *, without: str = "", has_history: bool = False
) -> dict[str, str]:
    """A SCRAM user with the ACLs of a scorer, except one; its group has the same name."""
    secured.add_user(name, PASSWORD)
    rights = dict(scorer_rights(f"User:{name}", TOPICS, name))
    if has_history:
        rights |= history_rights(f"User:{name}", TOPICS)
    secured.grant(binding for right, binding in rights.items() if right != without)
    return {**secured.by_scram(name, PASSWORD), "KAFKA_GROUP_ID": name}


def environment(store: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command in a process of its own."""
    return (
        {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
        | {name.upper(): str(value) for name, value in TOPICS.model_dump().items()}
        | {
            "MODEL_STORE_URI": (store / "store").as_uri(),
            "MODEL_CACHE_DIR": str(store / "cache"),
            "METRICS_PORT": "0",
            "METRICS_HOST": "127.0.0.1",
            "LOG_LEVEL": "DEBUG",
        }
        | dict(more)
    )


def run_command(store: Path, more: Mapping[str, str], *command: str) -> tuple[int, str]:
    """Exit code and output of a command; checks that no password is in the output."""
    done = subprocess.run(
        [sys.executable, "-m", "stream_scorer", *command],
        env=environment(store, more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert PASSWORD not in done.stdout
    assert WRONG not in done.stdout
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def scorer_settings(store: Path, more: Mapping[str, str]) -> ScorerSettings:
    given: dict[str, Any] = TOPICS.model_dump() | {
        "model_store_uri": (store / "store").as_uri(),
        "model_cache_dir": store / "cache",
        "metrics_port": 0,
        "metrics_host": "127.0.0.1",
    }
    return load_settings(ScorerSettings, given | {n.lower(): v for n, v in more.items()})


def kafka_settings(more: Mapping[str, str]) -> KafkaSettings:
    return load_settings(KafkaSettings, {name.lower(): value for name, value in more.items()})


def failure_of(settings: ScorerSettings) -> str:
    """The error that a scorer ends with; without the flag it asks about other groups' outcomes."""
    with pytest.raises(FatalError) as caught:
        ScorerProcess(settings, is_from_start=True).run()
    assert PASSWORD not in str(caught.value)
    assert WRONG not in str(caught.value)
    return str(caught.value)


def scored(secured: SecuredKafka) -> int:
    return len(read_all(secured.inside, TOPICS.output_topic))


@pytest.mark.parametrize("way", ["scram", "mtls"])
def test_scorer_works_with_the_minimal_acls(
    secured: SecuredKafka, store: Path, tmp_path: Path, way: str
) -> None:
    if way == "scram":
        more = user(secured, "scorer-scram")
    else:
        secured.grant(scorer_rights("User:CN=scorer-mtls", TOPICS, "scorer-mtls").values())
        more = secured.by_certificate("scorer-mtls", tmp_path) | {"KAFKA_GROUP_ID": "scorer-mtls"}
    before = scored(secured)
    values = encode_transactions(build_batch(make_transactions(40)))
    produce(secured.inside, TOPICS.input_topic, [*values, b"spoilt"], partitions=1)
    (tmp_path / "store").symlink_to(store / "store")
    more |= {"LOG_LEVEL": "DEBUG"}
    with fleet(secured.inside, TOPICS, more["KAFKA_GROUP_ID"], tmp_path, **more) as scorers:
        scorers.program = FROM_START
        scorer = scorers.start()
        wait_until(lambda: scored(secured) >= before + 40, 120, what="40 scores")
        scorer.wait_ready()
        assert scorer.terminate() == 0
        log = scorer.log.read_text()
    assert PASSWORD not in log
    wait_readable(secured.inside, TOPICS.dlq_topic)
    assert len(read_all(secured.inside, TOPICS.dlq_topic)) >= 1
    code, output = run_command(store, more, "doctor")
    assert code == 0, output
    assert "this user is authorized for everything a scorer does" in output


@pytest.fixture(scope="module")
def history_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model-with-card-history")
    uri = (folder / "store").as_uri()
    publish_history(
        FileStore(folder / "store"), open_history_store(store_settings(model_store_uri=uri))
    )
    return folder


@pytest.mark.parametrize("without", ["", "dead letters"])
def test_scorer_with_card_history_reads_the_dead_letters(
    secured: SecuredKafka, history_store: Path, tmp_path: Path, without: str
) -> None:
    name = "remembers" if not without else "cannot-remember"
    more = user(secured, name, without=without, has_history=True)
    before = scored(secured)
    produce(secured.inside, TOPICS.input_topic, encode_rows(make_card_rows(20)), partitions=1)
    (tmp_path / "store").symlink_to(history_store / "store")
    with fleet(secured.inside, TOPICS, name, tmp_path, **more) as scorers:
        scorers.program = FROM_START
        scorer = scorers.start()
        if without:
            wait_until(lambda: "grant this user READ" in scorer.log.read_text(), 120, what="it")
            assert scored(secured) == before
        else:
            wait_until(lambda: scored(secured) >= before + 20, 120, what="20 scores")
            assert "not authorized" not in scorer.log.read_text()
    code, report = run_command(history_store, more, "doctor")
    assert code == (1 if without else 0), report
    assert ("grant this user READ on topic dead-letters" in report) == bool(without)
    assert "snapshots can be written and deleted" in report
    assert re.search(r"^ok +history topics ", report, re.MULTILINE)


def test_scorer_without_access_to_its_rejection_counts_continues_with_one_warning(
    secured: SecuredKafka, store: Path, tmp_path: Path
) -> None:
    more = user(secured, "forgets", without="ledger") | {"REJECTION_MAX_RUN": "100000"}
    before = len(read_all(secured.inside, TOPICS.dlq_topic))
    produce(secured.inside, TOPICS.input_topic, [b"spoilt"] * 10, partitions=1)
    (tmp_path / "store").symlink_to(store / "store")
    with fleet(secured.inside, TOPICS, more["KAFKA_GROUP_ID"], tmp_path, **more) as scorers:
        scorers.program = FROM_START
        scorer = scorers.start()

        def dead_letters() -> int:
            assert scorer.process.poll() is None, scorer.log.read_text()[-3000:]
            return len(read_all(secured.inside, TOPICS.dlq_topic)) - before

        wait_until(lambda: dead_letters() >= 10, 120, what="the dead letters")
        assert scorer.terminate() == 0
        warnings = [
            line for line in scorer.log.read_text().splitlines() if "not authorized" in line
        ]
    assert len(warnings) == 1
    assert "not authorized for group forgets-rejections: grant this user READ" in warnings[0]


@pytest.mark.parametrize(
    ("without", "phrases"),
    [
        ("input", ["not authorized for topic in", "READ"]),
        ("output", ["not authorized for topic scores", "WRITE"]),
        ("dlq", ["not authorized for topic dead-letters", "WRITE"]),
        ("group", ["Group authorization failed", "READ on the group KAFKA_GROUP_ID"]),
        ("txn", ["Transactional Id authorization failed", "begin with KAFKA_GROUP_ID"]),
    ],
)
def test_missing_acl_is_named_by_scorer_and_doctor(
    secured: SecuredKafka, store: Path, without: str, phrases: list[str]
) -> None:
    more = user(secured, f"lacks-{without}", without=without)
    output = failure_of(scorer_settings(store, more))
    for phrase in phrases:
        assert phrase in output
    code, report = run_command(store, more, "doctor")
    assert code == 1
    named = {
        "input": "grant this user READ on the topic",
        "output": "grant this user WRITE on the topic",
        "dlq": "grant this user WRITE on the topic",
        "group": f"READ on group lacks-{without}",
        "txn": f"WRITE on transactional ids with the prefix lacks-{without}",
    }
    assert named[without] in report


def test_dead_letter_topic_that_can_be_read_and_not_written_is_named_at_the_start(
    secured: SecuredKafka, store: Path
) -> None:
    more = user(secured, "reads-only", without="dlq", has_history=True)
    output = failure_of(scorer_settings(store, more))
    assert "not authorized for topic dead-letters" in output
    code, report = run_command(store, more, "doctor")
    assert code == 1
    assert "WRITE on topic dead-letters" in report


def test_wrong_password_names_cause_and_setting(secured: SecuredKafka, store: Path) -> None:
    more = user(secured, "forgetful") | {"KAFKA_SASL_PASSWORD": WRONG}
    for command in ("run", "doctor"):
        code, output = run_command(store, more, command)
        assert code == 1, output
        assert "Authentication failed" in output
        assert all(name in output for name in SETTINGS)


def test_missing_ca_names_cause_and_setting(secured: SecuredKafka, store: Path) -> None:
    more = user(secured, "trusting")
    del more["KAFKA_SSL_CA_LOCATION"]
    for command in ("run", "doctor"):
        code, output = run_command(store, more, command)
        assert code == 1, output
        assert "certificate verify failed" in output
        assert "KAFKA_SSL_CA_LOCATION" in output


def test_missing_certificate_names_cause_and_setting(
    secured: SecuredKafka, store: Path, tmp_path: Path
) -> None:
    more = secured.by_certificate("nobody", tmp_path)
    del more["KAFKA_CONFIG_FILE"]
    for command in ("run", "doctor"):
        code, output = run_command(store, more, command)
        assert code == 1, output
        assert "certificate required" in output
        assert "ssl.certificate.location" in output
        assert "KAFKA_CONFIG_FILE" in output


def test_dashboard_needs_access_to_one_topic_and_no_group(secured: SecuredKafka) -> None:
    secured.add_user("dashboard", PASSWORD)
    settings = kafka_settings(secured.by_scram("dashboard", PASSWORD))
    with (
        closing(KafkaScores(settings, TOPICS.output_topic)) as scores,
        pytest.raises(FatalError, match="grant this user READ"),
    ):
        scores.fetch_bounds()
    secured.grant([reader_right("User:dashboard", TOPICS.output_topic)])
    with closing(KafkaScores(settings, TOPICS.output_topic)) as scores:
        place = scores.fetch_bounds()
        assert place is not None
        scores.assign({0: 0})
        found = wait_until(lambda: scores.poll(100, 0.1).ends_reached, what="the topic's end")
        assert found[0] == place.bounds[0][1]
    wrong = kafka_settings(secured.by_scram("dashboard", WRONG))
    with (
        closing(KafkaScores(wrong, TOPICS.output_topic)) as scores,
        pytest.raises(FatalError, match="KAFKA_SASL_PASSWORD") as caught,
    ):
        scores.fetch_bounds()
    assert WRONG not in str(caught.value)


def test_desk_needs_to_read_and_write_two_topics_and_says_so(secured: SecuredKafka) -> None:
    secured.add_user("desk", PASSWORD)
    given = {n.lower(): v for n, v in secured.by_scram("desk", PASSWORD).items()}
    log = KafkaLog(load_settings(GroupSettings, TOPICS.model_dump() | given))
    event = make_event("claim", Who("ana"), 1, flag_id="0-1")
    record = NewRecord(Channel.AUDIT, event.key, event.as_record())
    with closing(log), closing(log.open_reader()) as reader:
        needs = "needs the permissions READ and WRITE for this user"
        assert reader.fetch_bounds().problems == dict.fromkeys(Channel, needs)
        assert log.append([record], 5) == [None]
        # Which of the two depends on whether the broker has refused the producer id by then.
        assert re.search("authorization failed|needs WRITE on both", log.problem or "")
        secured.grant(dashboard_rights("User:desk", TOPICS, "fraud"))
        assert wait_until(lambda: reader.fetch_bounds().problems == {}, what="the permissions")
        (place,) = wait_until(lambda: [p for p in log.append([record], 5) if p], what="the record")
        reader.assign({(Channel.AUDIT, place.partition): place.offset})
        found = wait_until(lambda: reader.poll(0.1).records, what="the record")
        assert found[0].place == place


@pytest.mark.parametrize("missing", ["", "input", "dlq", "group"])
def test_dashboard_that_follows_the_stream_needs_three_more_permissions(
    secured: SecuredKafka, missing: str
) -> None:
    name = f"follower-{missing}"
    secured.add_user(name, PASSWORD)
    rights = follower_rights(f"User:{name}", TOPICS, name)
    secured.grant(binding for right, binding in rights.items() if right != missing)
    producer = open_producer(secured.inside)
    for topic in (TOPICS.input_topic, TOPICS.dlq_topic):
        producer.produce(topic, b"{}", partition=0)
    assert producer.flush(60) == 0
    given = TOPICS.model_dump() | {
        n.lower(): v for n, v in secured.by_scram(name, PASSWORD).items()
    }
    settings = load_settings(GroupSettings, given | {"kafka_group_id": name})
    faults = NotedFaults()
    with closing(KafkaStreamLog(settings, TransactionDecoder(LocalSchemas()))) as log:

        def advance() -> None:
            assert log.committed([0])[0].offset is None
            dead_letters = log.dead_letters(0)
            log.read_dead_letters({0: Span(dead_letters.high - 1, dead_letters.high)}, faults)
            list(log.read({0: Span(0, 1)}, {}, None, faults))

        if missing:
            with pytest.raises(FatalError, match=r"(?i)not authorized"):
                advance()
        else:
            advance()
            assert [fault for fault, *_ in faults.seen] in ([], ["undecodable"])


def test_other_commands_report_the_cause_too(secured: SecuredKafka, store: Path) -> None:
    more = user(secured, "typist") | {"KAFKA_SASL_PASSWORD": WRONG}
    code, output = run_command(store, more, "topics", "list")
    assert code == 1
    assert "KAFKA_SASL_PASSWORD" in output


def test_password_is_never_printed_with_the_settings(secured: SecuredKafka, store: Path) -> None:
    more = user(secured, "quiet")
    assert PASSWORD not in repr(scorer_settings(store, more))
    assert run_command(store, more, "--help")[0] == 0
    code, output = run_command(store, {**more, "KAFKA_SASL_MECHANISM": "ROT13"}, "run")
    assert code == 1
    assert "KAFKA_SASL_MECHANISM='ROT13'" in output
