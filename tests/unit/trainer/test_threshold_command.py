"""``fraud-trainer models threshold`` on a store in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileStore
from tests.support.factories import publish_only
from trainer.__main__ import main


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setenv("MODEL_STORE_URI", tmp_path.as_uri())
    monkeypatch.setenv("FRAUD_TRAINER_USER", "ana")
    found = FileStore(tmp_path)
    publish_only(found, {"gate": {"passed": True, "refusals": []}})
    return found


def pointer(store: FileStore) -> str | None:
    found = store.current()
    return None if found is None else found.version


def test_version_is_published_and_promoted_if_asked(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["models", "threshold", "v1", "--review", ".31", "--reason", "too many"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "published v2: the model of v1, reviews from 0.31 and blocks from 0.9" in out
    assert "run fraud-trainer models promote v2" in out
    assert pointer(store) is None
    assert main([*command, "--block", ".82", "--promote", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["published"], printed["promoted"]) == ("v3", "v3")
    assert printed["thresholds"] == {"review": 0.31, "block": 0.82}
    assert pointer(store) == "v3"
    assert main(["models", "show", "v3", "--json"]) == 0
    origin = json.loads(capsys.readouterr().out)["origin"]
    assert origin["by"].startswith("ana@")


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--review", ".3"], 2, "needs --reason TEXT"),
        (["--reason", "x"], 2, "needs --review SCORE, --block SCORE or both"),
        (["--review", ".95", "--reason", "x"], 1, "is above the block threshold 0.9"),
        (["--review", "nan", "--reason", "x"], 1, "the review threshold is nan"),
        (["--review", ".5", "--reason", "x"], 1, "v1 has these thresholds already"),
    ],
)
def test_mistakes_have_a_clear_answer_and_publish_nothing(
    store: FileStore, capsys: pytest.CaptureFixture[str], more: list[str], code: int, message: str
) -> None:
    assert main(["models", "threshold", "v1", *more]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert store.versions() == ["v1"]


def test_unknown_version_is_named(store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "threshold", "v9", "--review", ".3", "--reason", "x"]) == 1
    assert "no version v9" in capsys.readouterr().err
    assert store.versions() == ["v1"]
