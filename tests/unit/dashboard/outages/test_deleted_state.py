"""The state folder is deleted while the dashboard runs: it notices, rebuilds, and loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import Decision, DeskUnavailable, Status, Who
from dashboard.cases.log import Channel
from dashboard.cases.outbox import Entry, Outbox
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.desk.desk_kit import MemoryLog
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until

ANA = Who("ana", "analyst")
Delete = Callable[[Path], None]


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in production takes a moment here."""
    for name in ("_POLL_SECONDS", "_SAVE_SECONDS", "_REFRESH_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(f"dashboard.feed.loop.{name}", 0.02)
    monkeypatch.setattr("dashboard.cases.reading._RETRY_SECONDS", 0.02)


def entry(number: int) -> Entry:
    return Entry(f"id-{number}", Channel.LABELS, b"1", f"0-{number}", {"label": "FRAUD"})


def delete_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def delete_journals(folder: Path) -> None:
    for path in folder.glob("*.sqlite3-*"):
        path.unlink()


def put_another_file(folder: Path) -> None:
    shutil.rmtree(folder)
    Outbox(folder / "outbox.sqlite3").close()


@pytest.mark.parametrize("delete", [delete_folder, delete_journals, put_another_file])
def test_outbox_writes_what_waits_to_a_new_file(
    tmp_path: Path, delete: Delete, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state" / "outbox.sqlite3"
    outbox = Outbox(path)
    outbox.add([entry(1), entry(2), entry(3)])
    outbox.remove(Channel.LABELS, ["id-2"])
    delete(path.parent)
    outbox.add([entry(4)])
    assert [e.id for e in outbox.oldest([Channel.LABELS], 0, 10)] == ["id-1", "id-3", "id-4"]
    assert outbox.restored is not None
    assert (outbox.restored.kept, outbox.restored.lost) == (2, 0)
    assert "was deleted while the dashboard runs" in caplog.text
    outbox.close()
    again = Outbox(path)  # as after a crash: the new file has all of them
    assert [e.id for e in again.oldest([Channel.LABELS], 0, 10)] == ["id-1", "id-3", "id-4"]
    assert again.count(Channel.LABELS) == 3
    again.close()


def test_outbox_of_another_dashboard_in_the_same_folder_keeps_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "state" / "outbox.sqlite3"
    one = Outbox(path)
    one.add([entry(1)])
    shutil.rmtree(path.parent)
    other = Outbox(path)
    other.add([entry(2)])
    one.close()  # its dashboard ends, because the folder is taken
    assert [e.id for e in other.oldest([Channel.LABELS], 0, 9)] == ["id-2", "id-1"]
    other.close()


def test_outbox_keeps_entries_in_memory_until_a_file_can_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    outbox = Outbox(folder / "outbox.sqlite3")
    outbox.add([entry(1), entry(2)])
    shutil.rmtree(folder)
    folder.write_text("a file, where a folder must be")
    for _ in range(2):
        with pytest.raises(DeskUnavailable, match="2 entries are in memory alone"):
            outbox.add([entry(3)])
    folder.unlink()
    outbox.add([entry(3)])
    assert [e.id for e in outbox.oldest([Channel.LABELS], 0, 9)] == ["id-1", "id-2", "id-3"]
    outbox.close()


def test_desk_keeps_its_waiting_decision_and_reads_its_topics_again(tmp_path: Path) -> None:
    log, folder = MemoryLog(), tmp_path / "state"
    with running_desk(folder, log) as desk:
        wait_until(lambda: desk.status().is_ok, what="the desk")
        desk.decide(Decision("0-1", "FRAUD"), ANA, "recorded")
        wait_until(lambda: desk.status().events_waiting == 0, what="the event")
        log.is_down = True
        wait_until(lambda: desk.status().state == "waiting", what="the outage")
        desk.decide(Decision("0-2", "LEGITIMATE"), ANA, "waits")
        for path in folder.glob("desk.sqlite3*"):
            path.unlink()
        for path in folder.glob("outbox.sqlite3*"):
            path.unlink()
        log.is_down = False
        wait_until(lambda: desk.status().is_ok and not desk.waiting(), what="the desk is back")
        cases = desk.case_of(["0-1", "0-2"])
        assert [cases[one].label for one in ("0-1", "0-2")] == ["FRAUD", "LEGITIMATE"]
        assert all(case.status is Status.DECIDED and case.recorded for case in cases.values())
        assert len(log.records(Channel.LABELS)) == 2
        assert desk.status().restored is not None


def test_pages_answer_503_for_a_moment_and_show_the_same_afterwards(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    for score in (0.9, 0.1, 0.95):
        topic.append(encode_score(make_score(score)))
    app = make_app(tmp_path, topic)
    board, folder = app.state.parts.board, tmp_path / "dashboard"
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        wait_until(lambda: board.counts.scored == 3, what="the scores")
        before = client.get("/api/v1/flags").json()["items"]
        shutil.rmtree(folder)
        statuses = set[int]()

        def is_back() -> bool:
            answer = client.get("/api/v1/flags")
            statuses.add(answer.status_code)
            if answer.status_code == 503:
                assert answer.json()["type"] == "cache-unavailable"
                assert answer.headers["retry-after"] == "2"
            return answer.status_code == 200 and answer.json()["items"] == before

        wait_until(is_back, what="the list is back")
        assert statuses <= {200, 503}
        topic.append(encode_score(make_score(0.97)))
        wait_until(lambda: len(client.get("/api/v1/flags").json()["items"]) == 3, what="a new row")
        assert board.counts.scored == 4
        wait_until(lambda: client.get("/health").json()["checks"]["desk"]["ok"], what="the desk")
        checks = {c["name"]: c for c in client.get("/api/v1/operations").json()["checks"]}
        assert client.get("/").status_code == 200
    assert checks["Scores"]["state"] in ("ok", "warn")
