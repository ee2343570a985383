"""``replay`` on real Kafka: a range of the input with another version, and nothing is written."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.records import encode_record
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.kafka.reader import written_spans
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.scoring import Decision, score
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.settings import GroupSettings
from tests.support.audit.scored_topics import add_scored
from tests.support.command_kit import PARTITIONS, run_json
from tests.support.factories import make_batch, publish
from tests.support.records import Seen, produce, read_all
from tests.support.scoring_kit import make_value

N = 60
BAD: list[bytes | None] = [b"garbage", None, make_value(7)[:-1]]


@pytest.fixture
def store(environment: GroupSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """Three versions: the third is the model of the first with other thresholds."""
    store = FileStore(tmp_path / "store")
    monkeypatch.setenv("MODEL_STORE_URI", store.where)
    publish(store, review=0.3)
    publish(store, seed=2, review=0.3)
    assert publish(store, review=0.1) == "v3"
    return store


def bundle(store: FileStore, version: str) -> Bundle:
    return load_bundle(store.fetch(version), version)


@pytest.fixture
def scored(environment: GroupSettings, store: FileStore) -> GroupSettings:
    """Inputs that v1 scored, and three that were rejected."""
    values: list[bytes | None] = [*encode_transactions(make_batch(N)), *BAD]
    assert add_scored(environment, values, bundle(store, "v1"), PARTITIONS) == N
    return environment


def replay(
    settings: GroupSettings, capsys: pytest.CaptureFixture[str], *arguments: str
) -> dict[str, Any]:
    """The JSON of a replay since an hour ago."""
    code, printed = run_json(settings, capsys, "replay", "--since", "1h", *arguments)
    assert code == 0, printed
    return dict(printed)


def decoded(inputs: Sequence[Seen]) -> Any:
    """The transactions of the good inputs, and their coordinates."""
    values = [record.value for record in inputs]
    found = TransactionDecoder(LocalSchemas()).decode(values, [None] * len(values))
    places = [(inputs[row].partition, inputs[row].offset) for row in found.kept.tolist()]
    return found.batch, places


def test_replay_of_the_version_that_scored_gives_equal_bits(
    scored: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = replay(scored, capsys, "--model", "v1")
    assert (printed["inputs"], printed["compared"], printed["equal_bits"]) == (N, N, N)
    assert (printed["decisions_moved"], printed["largest_moves"]) == (0, [])
    assert printed["versions_before"] == {"v1": N}
    assert printed["not_replayed"] == {
        "it was rejected when it was to be scored, and has a dead letter": len(BAD)
    }
    assert printed["flagged"]["before"] == printed["flagged"]["replayed"] > 0
    assert (printed["labels"], printed["problems"]) == (None, [])


def test_moved_decisions_and_rows_are_those_of_the_other_model(
    scored: GroupSettings, store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    printed = replay(scored, capsys, "--model", "v2", "--out", str(path))
    batch, places = decoded(read_all(scored, scored.input_topic))
    old, new = score(batch, bundle(store, "v1")), score(batch, bundle(store, "v2"))
    moved = np.zeros((3, 3), int)
    np.add.at(moved, (old.decisions, new.decisions), 1)
    assert [list(row.values()) for row in printed["decisions"].values()] == moved.tolist()
    assert printed["decisions_moved"] == N - int(np.trace(moved)) > 0
    assert printed["equal_bits"] == int((old.scores == new.scores).sum())
    far = int(np.argmax(np.abs(new.scores - old.scores)))
    first = printed["largest_moves"][0]
    assert first["input"] == {"partition": places[far][0], "offset": places[far][1]}
    assert (first["before"]["score"], first["replayed"]["score"]) == (
        old.scores[far],
        new.scores[far],
    )
    assert first["replayed"]["reasons"] or new.scores[far] < 0.5
    assert len(printed["largest_moves"]) == 10
    with path.open(newline="") as file:
        rows = {(int(r["partition"]), int(r["offset"])): r for r in csv.DictReader(file)}
    assert set(rows) == set(places)
    for at, place in enumerate(places):
        row = rows[place]
        assert float(row["score"]) == new.scores[at]
        assert float(row["before_score"]) == old.scores[at]
        assert row["decision"] == Decision(int(new.decisions[at])).name
        assert (row["model_version"], row["before_model_version"]) == ("v2", "v1")
        assert int(row["transaction_id"]) == batch.ids[at]


def test_two_versions_are_compared_without_any_score(
    environment: GroupSettings, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    values: list[bytes | None] = [*encode_transactions(make_batch(N)), *BAD]
    produce(environment, environment.input_topic, values, PARTITIONS)
    printed = replay(environment, capsys, "--model", "v3", "--against", "v1")
    assert (printed["compared"], printed["versions_before"]) == (N, {"v1": N})
    assert printed["not_replayed"] == {"it cannot be decoded now": len(BAD)}
    assert printed["decisions_moved"] > 0  # other thresholds, the same scores
    assert printed["decisions"]["REVIEW"]["APPROVE"] == 0
    assert printed["flagged"]["replayed"] > printed["flagged"]["before"]
    assert main(["replay", "--model", "v3", "--since", "1h"]) == 1
    err = capsys.readouterr().err
    assert f"topic {environment.output_topic} has no score of an input of the range" in err
    assert "--against vN" in err


def test_replay_changes_nothing(
    scored: GroupSettings, store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = (scored.input_topic, scored.output_topic, scored.dlq_topic, scored.labels_topic)

    def ends() -> Any:
        return {t: written_spans(scored, "reader", t, PARTITIONS) for t in topics}

    def files() -> Any:
        paths = (tmp_path / "store").rglob("*")
        return {str(p): p.read_bytes() for p in paths if p.is_file()}

    before = ends(), files(), groups(scored)
    replay(scored, capsys, "--model", "v2", "--against", "v3", "--labels")
    replay(scored, capsys, "--model", "v2")
    assert (ends(), files(), groups(scored)) == before


def groups(settings: GroupSettings) -> set[str]:
    admin = open_admin(settings)  # it answers only as long as somebody holds it
    found = admin.list_consumer_groups(request_timeout=30).result(30)
    return {one.group_id for one in found.valid}


def test_only_inputs_of_the_range_are_replayed(
    environment: GroupSettings, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    values = encode_transactions(make_batch(10))
    producer, hour = open_producer(environment), 3_600_000
    first = 1_700_000_000_000
    for at, value in enumerate(values):
        topic = environment.input_topic
        producer.produce(topic, value, b"1", at % 2, timestamp=first + at * hour)
    assert producer.flush(30) == 0
    arguments = ["replay", "--model", "v2", "--against", "v1", "--json"]
    since, until = "2023-11-15T00:30:00Z", "2023-11-15T05:00:00Z"
    code, printed = run_json(
        environment, capsys, *arguments[:-1], "--since", since, "--until", until
    )
    assert (code, printed["inputs"]) == (0, 4)  # those of 01:13 to 04:13
    assert (printed["since"], printed["until"]) == (1_700_008_200_000, 1_700_024_400_000)
    assert main([*arguments, "--since", until, "--until", since]) == 1
    assert "the range is empty" in capsys.readouterr().err
    assert main([*arguments, "--since", "1h"]) == 1
    err = capsys.readouterr().err
    assert f"topic {environment.input_topic} has no input from " in err
    assert "(10 offsets are outside)" in err


def test_labels_judge_both_sides(
    scored: GroupSettings, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {1: "FRAUD", 2: "LEGITIMATE", 3: "UNSURE", 4: "FRAUD", 5: "LEGITIMATE", 999: "FRAUD"}
    producer = open_producer(scored)
    for number, word in words.items():
        label = {
            "transaction_id": number, "label": word, "origin": "ANALYST", "decided_by": "ana",
            "decided_at": 1_790_000_000_000,
        }  # fmt: skip
        producer.produce(scored.labels_topic, encode_record("fraud_label", label), b"1")
    assert producer.flush(30) == 0
    printed = replay(scored, capsys, "--model", "v2", "--labels")
    found = printed["labels"]
    names = ("labelled", "frauds", "legitimate", "unsure", "without_label")
    assert [found[name] for name in names] == [4, 2, 2, 1, N - 5]
    assert found["labels_of_other_inputs"] == 1
    assert 0 < found["replayed"]["average_precision"] <= 1
    assert set(found["before"]) == {"average_precision", "recall_in_top"}
    assert main(["replay", "--model", "v2", "--since", "1h", "--labels"]) == 0
    out = capsys.readouterr().out
    assert "4 compared inputs have a label: 2 frauds, 2 legitimate; 1 are unsure" in out
    assert "recall in the top 2% of all" in out


def test_report_shows_both_sides(
    scored: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.parquet"
    assert main(["replay", "--model", "v2", "--since", "1h", "--out", str(path)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("v2 and published, inputs from 20")
    assert any(line.split() == ["compared", str(N)] for line in lines)
    (heading,) = [line for line in lines if line.startswith("published (rows), v2 (columns)")]
    assert heading.split()[-3:] == ["APPROVE", "REVIEW", "BLOCK"]
    assert "largest moves:" in lines
    assert any(" (v1), now " in line and " (v2)" in line for line in lines)
    assert any(line.startswith("    v2: ") for line in lines)
    assert f"rows written to {path}" in lines
    assert path.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "v9"], "version v9 is not in the store"),
        (["--model", "v1", "--against", "v9"], "versions in the store: v1, v2, v3"),
        (["--model", "v1", "--out", "none/rows.csv"], "cannot write none/rows.csv: No such file"),
    ],
)
def test_what_is_missing_is_named(
    scored: GroupSettings,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["replay", "--since", "1h", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("stream-scorer: ")
    assert "Traceback" not in err


def test_version_that_is_refused_is_named(
    scored: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "store" / "models" / "v2" / "model.pkl"
    model.write_bytes(b"x" * model.stat().st_size)
    assert main(["replay", "--since", "1h", "--model", "v2"]) == 1
    assert "version v2 is refused: model.pkl has sha256" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "store")
    assert main(["replay", "--since", "1h", "--model", "v2"]) == 1
    assert "versions in the store: none" in capsys.readouterr().err


def test_missing_topic_is_named(
    scored: GroupSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELS_TOPIC", "no-such-labels")
    assert main(["replay", "--since", "1h", "--model", "v2", "--labels"]) == 1
    assert "topic not found" in capsys.readouterr().err
    assert not topic_partitions(open_admin(scored), ["no-such-labels"], 10)
