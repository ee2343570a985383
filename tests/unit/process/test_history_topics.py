"""What a model with history needs of the topics' configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from stream_scorer.cli import doctor_history
from stream_scorer.cli.checks import Level
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.process import history_topics
from stream_scorer.process.history_topics import check_history_topics, judge_history_topics
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import ScorerSettings
from stream_scorer.state.eras import spec_of
from tests.support.factories import make_bundle

INPUT, DLQ = "transactions", "transactions-dlq"
WEEK = "604800000"
USUAL = {"cleanup.policy": "delete", "retention.ms": WEEK, "retention.bytes": "-1"}


def configs(dlq: Mapping[str, str] = USUAL, **inputs: str) -> dict[str, dict[str, str]]:
    own = {name.replace("_", "."): value for name, value in inputs.items()}
    return {INPUT: {**USUAL, **own}, DLQ: dict(dlq)}


def test_topics_as_they_are_created_are_as_they_should_be() -> None:
    assert judge_history_topics(INPUT, DLQ, configs()) == history_topics.HistoryTopics()


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete,compact"])
def test_compacted_input_is_a_fault_with_a_way_out(policy: str) -> None:
    found = judge_history_topics(INPUT, DLQ, configs(cleanup_policy=policy))
    (fault,) = found.faults
    assert fault == (
        f"topic transactions is compacted (cleanup.policy={policy}), so Kafka removes records that "
        "card histories are computed from: set cleanup.policy=delete on it, or promote a model "
        "without history"
    )
    assert found.warnings == ()


def test_compacted_dead_letter_topic_is_a_fault_too() -> None:
    found = judge_history_topics(INPUT, DLQ, configs({**USUAL, "cleanup.policy": "compact"}))
    assert [fault.split(" (")[0] for fault in found.faults] == [
        "topic transactions-dlq is compacted"
    ]


@pytest.mark.parametrize(
    ("name", "of_dlq", "of_input", "is_tighter"),
    [
        ("retention.ms", "604799999", WEEK, True),
        ("retention.ms", WEEK, WEEK, False),
        ("retention.ms", "-1", WEEK, False),
        ("retention.ms", WEEK, "-1", True),
        ("retention.ms", "-1", "-1", False),
        ("retention.ms", "0", WEEK, True),
        ("retention.bytes", "1000000", "-1", True),
        ("retention.bytes", "1000000", "1000000", False),
        ("retention.bytes", "1000000", "2000000", True),
        ("retention.bytes", "-1", "2000000", False),
        ("retention.ms", "", WEEK, False),
        ("retention.ms", "week", WEEK, False),
    ],
)
def test_dead_letters_should_be_kept_as_long_as_their_inputs(
    name: str, of_dlq: str, of_input: str, *, is_tighter: bool
) -> None:
    given = configs({**USUAL, name: of_dlq}, **{name.replace(".", "_"): of_input})
    found = judge_history_topics(INPUT, DLQ, given)
    assert found.faults == ()
    assert len(found.warnings) == is_tighter
    for warning in found.warnings:
        assert f"{name}={of_dlq}, the input's is {of_input}" in warning
        assert warning.endswith(f"set {name}={of_input} on transactions-dlq")


def test_limits_that_are_not_known_are_not_compared() -> None:
    assert judge_history_topics(INPUT, DLQ, {INPUT: {}, DLQ: USUAL}).warnings == ()


@pytest.mark.parametrize("readable", [[], [INPUT], [DLQ]])
def test_topic_whose_configuration_may_not_be_read_is_named(readable: list[str]) -> None:
    given = {name: config for name, config in configs().items() if name in readable}
    found = judge_history_topics(INPUT, DLQ, given)
    assert found.faults == ()
    assert len(found.warnings) == 2 - len(readable)
    for name, warning in zip([n for n in (INPUT, DLQ) if n not in readable], found.warnings,
                             strict=True):  # fmt: skip
        assert f"the configuration of topic {name} (DESCRIBE_CONFIGS)" in warning


@pytest.fixture
def settings() -> ScorerSettings:
    return load_settings(ScorerSettings)


def given_configs(
    monkeypatch: pytest.MonkeyPatch, found: Mapping[str, Mapping[str, str] | Exception]
) -> None:
    def topic_config(_: object, name: str) -> Mapping[str, str]:
        config = found[name]
        if isinstance(config, Exception):
            raise config
        return config

    monkeypatch.setattr(history_topics, "open_admin", lambda _: None)
    monkeypatch.setattr(history_topics, "topic_config", topic_config)


def test_scorer_does_not_start_with_a_fault_and_logs_a_warning(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given_configs(monkeypatch, configs({**USUAL, "retention.ms": "1"}, cleanup_policy="compact"))
    with caplog.at_level(logging.WARNING), pytest.raises(FatalError, match="is compacted"):
        check_history_topics(settings)
    assert "retention.ms=1" in caplog.text


def test_denied_configuration_does_not_stop_a_scorer_and_a_silent_broker_is_waited_for(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given_configs(monkeypatch, {INPUT: FatalError("denied"), DLQ: USUAL})
    with caplog.at_level(logging.WARNING):
        check_history_topics(settings)
    assert "DESCRIBE_CONFIGS" in caplog.text
    given_configs(monkeypatch, {INPUT: RetryableError("no broker"), DLQ: USUAL})
    with pytest.raises(RetryableError, match="no broker"):
        check_history_topics(settings)


def test_doctor_has_a_line_for_each_problem_with_what_to_do(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_configs(monkeypatch, configs({**USUAL, "retention.ms": "1"}, cleanup_policy="compact"))
    fault, warning = doctor_history.check_history_topics(settings)
    assert (fault.level, warning.level) == (Level.FAIL, Level.WARN)
    assert "removes records that card histories are computed from" in fault.found
    assert fault.advice.startswith("set cleanup.policy=delete")
    assert warning.advice == f"set retention.ms={WEEK} on transactions-dlq"
    given_configs(monkeypatch, configs())
    (check,) = doctor_history.check_history_topics(settings)
    assert check.level is Level.OK


def test_bundle_of_an_earlier_release_has_no_history() -> None:
    assert spec_of(make_bundle()) is None
