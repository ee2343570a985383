"""The pure parts of the tail, topics and doctor commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_scorer.cli.checks import Level
from stream_scorer.cli.console import aligned, count_noun
from stream_scorer.cli.doctor import check_cache, check_openmp, check_threads, cpu_limit
from stream_scorer.cli.tail import score_line
from stream_scorer.errors import FatalError
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES, OUTPUT_MAX_BYTES
from stream_scorer.process.topics import MAX_BYTES, topic_faults, wanted_topics
from stream_scorer.runtime.settings import TopicSettings, load_settings

SCORE = {
    "transaction_id": 2987000,
    "score": 0.93121,
    "decision": "BLOCK",
    "is_flagged": True,
    "model_version": "v3",
    "scored_at": 1_700_000_000_123,
    "reasons": [
        {"feature": "TransactionAmt", "value": "1250", "contribution": 0.812},
        {"feature": "card2", "value": None, "contribution": 0.1},
    ],
    "context": {"TransactionAmt": 1250.0, "ProductCD": "W"},
}


def test_flagged_score_is_one_line_with_its_reasons() -> None:
    line = score_line(SCORE)
    assert line.startswith("22:13:20.123      2987000  0.9312  BLOCK    v3")
    assert line.endswith("1,250.00  W        TransactionAmt=1250 (+0.81); card2=missing (+0.10)")


def test_columns_of_scores_line_up_without_a_context() -> None:
    plain = score_line({**SCORE, "decision": "APPROVE", "context": None, "reasons": []})
    assert plain.index("v3") == score_line(SCORE).index("v3")


def test_output_topics_accept_larger_records_than_the_input() -> None:
    topics = wanted_topics(load_settings(TopicSettings))
    assert topics["transactions"][MAX_BYTES] == str(INPUT_MAX_BYTES)
    assert topics["fraud-scores"][MAX_BYTES] == str(OUTPUT_MAX_BYTES)
    assert topics["transactions-dlq"][MAX_BYTES] == str(OUTPUT_MAX_BYTES)


def test_labels_are_kept_forever_with_their_history() -> None:
    labels = wanted_topics(load_settings(TopicSettings))["fraud-labels"]
    assert labels["retention.ms"] == "-1"
    assert labels["cleanup.policy"] == "delete"


@pytest.mark.parametrize(
    ("partitions", "max_bytes", "needed", "words"),
    [
        (12, 5000, 12, []),
        (12, 6000, None, []),
        (6, 5000, 12, ["has 6 partitions, but the input has 12"]),
        (12, 1000, 12, ["set max.message.bytes=5000"]),
        (6, 1000, 12, ["partitions", "max.message.bytes"]),
    ],
)
def test_topic_that_does_not_fit_is_warned_about(
    partitions: int, max_bytes: int, needed: int | None, words: list[str]
) -> None:
    faults = topic_faults("fraud-scores", partitions, max_bytes, 5000, needed)
    assert len(faults) == len(words)
    assert all(word in fault for word, fault in zip(words, faults, strict=True))


def test_missing_openmp_check_says_how_to_install_it() -> None:
    def refuse() -> str:
        raise FatalError("LightGBM needs the library libgomp.so.1, which is not installed")

    check = check_openmp(refuse)
    assert check.level is Level.FAIL
    assert "apt-get install libgomp1" in check.advice


def test_cache_folder_need_not_exist_yet(tmp_path: Path) -> None:
    assert check_cache(tmp_path / "a" / "b").level is Level.OK
    assert not (tmp_path / "a").exists()


def test_cache_folder_that_is_a_file_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no folder")
    assert check_cache(tmp_path / "a").level is Level.WARN


@pytest.mark.parametrize(
    ("content", "limit"), [("150000 100000\n", 1.5), ("max 100000\n", None), (None, None)]
)
def test_cpu_limit_follows_the_containers_quota(
    content: str | None, limit: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    if content is not None:
        (tmp_path / "cpu.max").write_text(content)
    assert cpu_limit(tmp_path / "cpu.max") == (limit or 8.0)


def test_more_threads_than_cpus_are_warned_about() -> None:
    check = check_threads("64", 2.0)
    assert check.level is Level.WARN
    assert "OMP_NUM_THREADS=2" in check.advice
    assert check_threads("2", 2.0).level is Level.OK


def test_columns_line_up() -> None:
    assert aligned([["a", "1"], ["bcd", "1,000"]], right=(1,)) == ["a        1", "bcd  1,000"]
    assert aligned([]) == []


def test_nouns_agree_with_their_number() -> None:
    assert [count_noun(n, "record") for n in (0, 1, 1200)] == [
        "0 records",
        "1 record",
        "1,200 records",
    ]
