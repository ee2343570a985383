"""What the operations page and its API show, gathered from all parts of this process."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from dashboard.cache.score_counts import MINUTE_MS, read_score_versions, read_timeseries
from dashboard.cases.desk import DeskStatus
from dashboard.feed.board import FeedState
from dashboard.live.ticks import describe_feed
from dashboard.masking import MASK, FieldMask
from dashboard.operations.monitor import Reading, State
from dashboard.web.parts import Parts
from dashboard.web.roles import HIDDEN, OPERATORS, has_role
from dashboard.web.tokens import Identity

HOUR_MS: Final = 3_600_000
DEAD_LETTER_SECONDS: Final = 2.0
"""How long the first page waits for dead letters. Later ones show the last reading."""

_DETAIL_ROLES: Final = OPERATORS
_SILENT_MS: Final = 60_000
_MAX_VERSIONS: Final = 20

_LOOK: Final = (
    "kafka-console-consumer.sh --bootstrap-server BROKERS --topic {topic} --partition {partition} "
    "--offset {offset} --max-messages 1 | xxd"
)
"""How to see the bytes of a record: no tool of ours reads what ours cannot decode."""

OK, WARN, BAD, UNKNOWN = "ok", "warn", "bad", "unknown"


def build(parts: Parts, identity: Identity | None, mask: FieldMask) -> dict[str, Any]:
    """Everything on the page. Blocks for short reads of the cache, never for a broker for long.

    The messages of drivers name hosts and topics: only people on call and leads get them. ``mask``
    is what the user does not see of transactions.
    """
    in_full = has_role(identity, _DETAIL_ROLES)
    monitor, meter = parts.operations.monitor, parts.operations.meter
    dead_letters = monitor.dead_letters(DEAD_LETTER_SECONDS)
    state, now = monitor.state, parts.board.now()
    versions, desk = meter.versions(), parts.desk.status()
    promoted = parts.model.status.promoted
    return {
        "now": now,
        "checks": _checks(parts, state, desk, now, in_full=in_full),
        "backlog": _backlog(parts, state, in_full=in_full),
        "throughput": _throughput(parts, now),
        "delays": meter.delays(),
        "dead_letters": {
            "records": dead_letters.value.records if dead_letters.value else None,
            "newest": [
                # A reason may quote a value.
                row | {"reason": MASK} if mask else row
                for row in (dead_letters.value.newest if dead_letters.value else ())
            ],
            **_about(dead_letters, in_full=in_full),
        },
        "versions": {
            "promoted": promoted,
            "live": _live(versions),
            "partitions": [
                {**row, "is_promoted": promoted is None or row["version"] == promoted}
                for row in versions
            ],
            "days": _days(parts),
        },
        "drift": meter.drift(),
        "unreadable": _unreadable(parts, in_full=in_full),
        "desk": _desk(parts, desk),
    }


def _checks(
    parts: Parts, state: State, desk: DeskStatus, now: int, *, in_full: bool
) -> list[dict[str, Any]]:
    return [
        _broker(state, in_full=in_full),
        _feed(parts, now, in_full=in_full),
        _model(parts, in_full=in_full),
        _store(parts, in_full=in_full),
        _topics(state),
        _desk_check(desk, in_full=in_full),
    ]


def _broker(state: State, *, in_full: bool) -> dict[str, Any]:
    reading = state.backlog
    if reading.problem:
        return _check("Broker", BAD, _reason(reading.problem, in_full=in_full), reading.since)
    if reading.at is None:
        return _check("Broker", UNKNOWN, "not asked yet")
    return _check("Broker", OK, "answers")


def _feed(parts: Parts, now: int, *, in_full: bool) -> dict[str, Any]:
    status = parts.board.status
    if status.state is FeedState.WAITING:
        return _check("Scores", BAD, _reason(status.detail, in_full=in_full), status.since)
    if status.state is not FeedState.LIVE:
        return _check("Scores", WARN, f"{status.state.value}, {status.done * 100:.0f} % read")
    if status.read_at is None:
        return _check("Scores", WARN, "no score read since the start")
    if now - status.read_at > _SILENT_MS:
        return _check("Scores", WARN, "no new score for a minute", status.read_at)
    return _check("Scores", OK, "arriving")


def _model(parts: Parts, *, in_full: bool) -> dict[str, Any]:
    bundle, status = parts.model.current, parts.model.status
    if bundle is None:
        return _check("Model", BAD, _reason(status.problem or "none loaded yet", in_full=in_full))
    if status.rolled_back is not None:
        return _check(
            "Model", WARN, f"{status.rolled_back.rejected} is rejected, {bundle.version} serves"
        )
    return _check("Model", OK, f"{bundle.version} is loaded here")


def _store(parts: Parts, *, in_full: bool) -> dict[str, Any]:
    status = parts.model.status
    if status.problem:
        return _check("Store", BAD, _reason(status.problem, in_full=in_full))
    if status.checked_at is None:
        return _check("Store", UNKNOWN, "not asked yet")
    return _check("Store", OK, f"{status.promoted or 'no version'} is promoted")


def _topics(state: State) -> dict[str, Any]:
    missing = state.missing_topics.value
    if missing is None:
        return _check("Topics", UNKNOWN, "not asked yet")
    if missing:
        names = ", ".join(missing)
        return _check("Topics", BAD, f"missing: {names}. Create with: stream-scorer topics create")
    return _check("Topics", OK, "input, dead letters, labels and audit exist")


def _desk_check(desk: DeskStatus, *, in_full: bool) -> dict[str, Any]:
    waiting = desk.waiting + desk.events_waiting
    if not desk.is_ok and (desk.detail or desk.missing):
        detail = desk.detail or f"missing: {', '.join(desk.missing)}"
        return _check("Desk", BAD, _reason(detail, in_full=in_full), desk.since)
    if not desk.is_ok:
        return _check("Desk", WARN, f"{desk.state}, {desk.lag:,} records to read", desk.since)
    if desk.restored is not None:
        state = BAD if desk.restored.lost else WARN
        text = f"the state folder was deleted: {desk.restored}"
        return _check("Desk", state, text, desk.restored.at)
    if waiting:
        return _check("Desk", WARN, f"{waiting:,} decisions and events wait to be recorded")
    return _check("Desk", OK, "decisions and events are recorded")


def _check(name: str, state: str, text: str, since: int | None = None) -> dict[str, Any]:
    return {"name": name, "state": state, "text": text, "since": since}


def _reason(problem: str, *, in_full: bool) -> str:
    return problem if in_full else f"there is a problem; {HIDDEN}"


def _about(reading: Reading[Any], *, in_full: bool) -> dict[str, Any]:
    """When a reading is from, and why there is no newer one."""
    problem = _reason(reading.problem, in_full=in_full) if reading.problem else None
    return {"as_of": reading.at, "problem": problem, "since": reading.since}


def _backlog(parts: Parts, state: State, *, in_full: bool) -> dict[str, Any]:
    found = state.backlog.value
    return {
        "topic": parts.settings.input_topic,
        "group": parts.settings.kafka_group_id,
        "waiting": None if found is None else sum(p.waiting for p in found),
        "partitions": [p.as_json() for p in found or ()],
        "history": state.history,
        **_about(state.backlog, in_full=in_full),
    }


def _unreadable(parts: Parts, *, in_full: bool) -> dict[str, Any]:
    """Score records that could not be read, where the last of them are, and how to look at one.

    They are on the scores topic, and no dead letters: a scorer writes those for its inputs.
    """
    newest = parts.board.unreadable
    return {
        "records": parts.board.counts.unreadable,
        "topic": parts.settings.output_topic,
        "newest": [
            {
                "place": found.place,
                "at": found.at,
                "reason": found.reason if in_full else HIDDEN,
                "look": _LOOK.format(**_place(found.place)),
            }
            for found in newest
        ],
    }


def _place(text: str) -> dict[str, str]:
    topic, _, rest = text.rpartition("[")
    partition, _, offset = rest.partition("]@")
    return {"topic": topic, "partition": partition, "offset": offset}


def _throughput(parts: Parts, now: int) -> dict[str, Any]:
    rates = parts.hub.latest.rates
    first = (now - HOUR_MS) // MINUTE_MS * MINUTE_MS
    points = read_timeseries(parts.table, first, now, MINUTE_MS)
    return {
        "scored_per_second": round(rates[0], 1),
        "flagged_per_second": round(rates[1], 2),
        "minutes": [list(point) for point in points],
    }


def _live(versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The versions that score now, each with its partitions."""
    partitions: defaultdict[str, list[int]] = defaultdict(list)
    for row in versions:
        partitions[row["version"]].append(row["partition"])
    return [{"version": v, "partitions": found} for v, found in sorted(partitions.items())]


def _days(parts: Parts) -> list[dict[str, Any]]:
    """The first and last UTC day with scores of each version, newest first."""
    found = read_score_versions(parts.table)[:_MAX_VERSIONS]
    return [{"version": v, "first_day": first, "last_day": last} for v, first, last in found]


def _desk(parts: Parts, desk: DeskStatus) -> dict[str, Any]:
    hub, status, counts = parts.hub, parts.board.status, parts.board.counts
    return {
        "streams": len(hub),
        "streams_limit": hub.limit,
        "streams_waiting": hub.waiting,
        "dropped_rows": hub.dropped,
        "lag": status.lag,
        "unreadable": counts.unreadable,
        "body_bytes": parts.bodies.held,
        "decisions_waiting": desk.waiting,
        "events_waiting": desk.events_waiting,
        "desk_state": desk.state,
        "desk_lag": desk.lag,
        "feed": {**describe_feed(status), "detail": ""},
    }
