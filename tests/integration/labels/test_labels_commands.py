"""The labels commands on real Kafka: import, list and show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.__main__ import main
from stream_scorer.kafka.clients import open_producer
from stream_scorer.settings import GroupSettings

ROWS = (
    "transaction_id,label,decided_at,note\n5,FRAUD,2026-01-31,a\x1b[31m\n6,LEGITIMATE,2026-02-01,\n"
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_labels_are_imported_once_listed_and_shown(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "chargebacks.csv"
    command = ["labels", "import", str(file), "--origin", "CHARGEBACK"]
    file.write_text(ROWS + "7,FRAUD,2999-01-01,\n")
    code, done = run(capsys, *command)
    assert (code, done["written"], done["bad"]) == (1, 0, 1)
    code, done = run(capsys, *command, "--skip-bad")
    assert (code, done["written"], done["already"]) == (0, 2, 0)
    assert main(["labels", "import", str(file), "--origin", "CHARGEBACK", "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert "0 labels written" in said.out
    assert "2 were there already" in said.out
    assert "line 4, column decided_at: '2999-01-01' is in the future" in said.err
    assert run(capsys, *command[:-1], "REVERSAL", "--skip-bad")[1]["written"] == 2

    producer = open_producer(environment)
    producer.produce(environment.labels_topic, b"not a label", b"5")
    assert producer.flush(30) == 0

    code, listed = run(capsys, "labels", "list")
    assert (code, listed["transactions"], listed["bad_records"]) == (0, 2, 1)
    assert [(x["transaction_id"], x["origin"]) for x in listed["labels"]] == [
        (6, "REVERSAL"),
        (5, "REVERSAL"),
    ]
    _, listed = run(capsys, "labels", "list", "--origin", "CHARGEBACK", "--label", "FRAUD")
    assert [x["transaction_id"] for x in listed["labels"]] == [5]
    code, shown = run(capsys, "labels", "show", "5")
    assert [x["stands"] for x in shown["labels"]] == [False, True]
    first, last = shown["labels"]
    assert last["supersedes"] == first["record"].replace("-", ":")
    assert first["note"] == "a\x1b[31m"

    assert main(["labels", "list", "--since", "2026-02-01"]) == 0
    assert capsys.readouterr().out.startswith("1 labelled transaction: 1 LEGITIMATE\n")
    assert main(["labels", "show", "5"]) == 0
    out = capsys.readouterr().out
    assert "FRAUD (stands)" in out
    assert "\x1b" not in out
    assert main(["labels", "show", "99"]) == 1
    assert "has no label of transaction 99" in capsys.readouterr().err


def test_mistakes_have_a_clear_answer(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.csv"
    for path, said in ((missing, "no such file"), (tmp_path, "is a directory")):
        assert main(["labels", "import", str(path), "--origin", "REVERSAL"]) == 1
        assert said in capsys.readouterr().err
    assert main(["labels", "import", str(missing), "--origin", "ANALYST"]) == 2
    assert main(["labels", "show", "x"]) == 2
    assert environment.labels_topic
