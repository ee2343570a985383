"""``drift`` on real Kafka: planted drift is found, and nothing is written but the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.settings import GroupSettings
from tests.support.audit.scored_topics import add_scored
from tests.support.command_kit import PARTITIONS, run_json
from tests.support.drift.kit import facts_of
from tests.support.factories import make_batch, make_transactions, publish_only
from tests.support.records import produce, wait_readable

ROWS = 800


@pytest.fixture
def store(environment: GroupSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    store = FileStore(tmp_path / "store")
    monkeypatch.setenv("MODEL_STORE_URI", store.where)
    version = publish_only(store, facts_of(make_batch(3000, 99)))
    store.promote(version, store.current())
    publish_only(store, {})
    return store


def test_planted_drift_is_on_top_and_goes_to_the_page_and_the_store(
    environment: GroupSettings,
    store: FileStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drifted = [
        {**row, "TransactionAmt": row["TransactionAmt"] * 40, "C1": None}
        for row in make_transactions(ROWS, 5)
    ]
    bundle = load_bundle(store.fetch("v1"), "v1")
    values = [*encode_transactions(build_batch(drifted)), b"garbage"]
    add_scored(environment, list(values), bundle, PARTITIONS)
    produce(environment, environment.output_topic, [b"junk", b"\0\0\0\0\1junk"], PARTITIONS)
    wait_readable(environment, environment.output_topic)
    page = tmp_path / "drift.html"
    arguments = ("--since", "1h", "--html", str(page), "--publish")
    code, found = run_json(environment, capsys, "drift", *arguments)
    assert code == 0
    moved = {one["name"]: one for one in found["features"]}
    assert {one["name"] for one in found["features"][:2]} == {"TransactionAmt", "C1"}
    assert moved["C1"]["missing_now"] == 1
    assert moved["TransactionAmt"]["verdict"] == "large shift"
    assert moved["card4"]["verdict"] == "stable"
    assert found["scores"]["rows"] == found["rows"] == ROWS
    why = "cannot be read, some because SCHEMA_REGISTRY_URL is not set"
    assert found["problems"] == [
        "1 inputs cannot be decoded",
        f"2 records of {environment.output_topic} {why}",
    ]
    assert "C1" in page.read_text()
    assert json.loads((tmp_path / "store/drift/latest.json").read_text()) == found

    code, sampled = run_json(environment, capsys, "drift", "--since", "1h", "--rows", "480")
    assert 300 <= sampled["rows"] <= 480  # an offset of a txn marker has no row
    assert code == 1
    assert "say nothing" in sampled["not_compared"]["C1"]

    nowhere = str(tmp_path / "absent" / "drift.html")
    assert main(["drift", "--since", "1h", "--json", "--html", nowhere]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rows"] == ROWS
    assert f"--html {nowhere} cannot be written" in printed.err

    assert main(["drift", "--since", "1h", "--version", "v2"]) == 1
    assert "v2 has no reference histograms" in capsys.readouterr().err
    assert main(["drift", "--since", "1h", "--version", "v9"]) == 1
    assert "versions in the store: v1, v2" in capsys.readouterr().err
    assert main(["drift", "--until", "30d"]) == 1
    assert "--until is not after --since" in capsys.readouterr().err
