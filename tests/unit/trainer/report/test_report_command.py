"""``fraud-trainer report``: its files, two versions, an ablation from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileStore
from tests.support.factories import publish
from trainer.__main__ import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with a store of two versions."""
    store = FileStore(tmp_path / "store")
    publish(store, seed=1)
    publish(store, seed=2)
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_report_of_one_and_of_two_versions(folder: Path) -> None:
    assert main(["report", "v2"]) == 0
    assert main(["report", "v2", "--against", "v1"]) == 0
    alone, both = ((folder / f"report-{name}.html").read_text() for name in ("v2", "v2-against-v1"))
    assert "<h1>Fraud model v2</h1>" in alone
    assert 'id="comparison"' not in alone
    assert "<h1>Fraud model v2 against v1</h1>" in both
    assert "Both versions use the same" in both
    assert "Promotions" in alone


def test_an_ablation_from_a_file_is_shown(folder: Path) -> None:
    rows = [{"group": "card <history>", "difference": -0.03, "interval": [-0.05, -0.01]}]
    (folder / "ablation.json").write_text(json.dumps({"rows": rows}))
    assert main(["report", "v1", "--ablation", "ablation.json"]) == 0
    page = (folder / "report-v1.html").read_text()
    assert "card &lt;history&gt;" in page
    assert "\N{MINUS SIGN}0.0300" in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read --ablation x.json: No such file"),
        ("[1]", "--ablation x.json is not a JSON object"),
        ("{", "--ablation x.json is not a JSON object"),
        ('{"rows": []}', '--ablation x.json has no "rows"'),
        ('{"rows": [{"group": "a", "difference": "b"}]}', "--ablation x.json, row 1: expected a"),
        ('{"rows": [' + " " * 2**20 + "]}", "--ablation x.json is larger than 1048576 bytes"),
    ],
)
def test_an_unusable_ablation_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (folder / "x.json").write_text(content)
    assert main(["report", "v1", "--ablation", "x.json"]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "report-v1.html").exists()


def test_a_version_against_itself_or_an_unknown_one_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "v1", "--against", "v1"]) == 1
    assert "name another version" in capsys.readouterr().err
    assert main(["report", "v1", "--against", "v9"]) == 1
    assert "no version v9" in capsys.readouterr().err
    assert list(folder.glob("*.html")) == []
