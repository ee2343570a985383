"""Saves the state of an audit to a file, so that the next run reads only new records.

The file is JSON with a checksum and is replaced atomically. It identifies the cluster and the
topics by their ids: a topic that was deleted and recreated under the same name is another topic.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_scorer.audit.expiry import Expiry
from stream_scorer.audit.ledger import Ledger, RedrivenOnce
from stream_scorer.audit.lost_inputs import LostInputs
from stream_scorer.audit.outcome_log import OutcomeLog
from stream_scorer.audit.records.columns import (
    LEAF_BYTES,
    NOT_HASHED,
    NOT_STATED,
    Mark,
    OutcomeKind,
    Outcomes,
)
from stream_scorer.audit.records.results import Results
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.versions import VersionRanges
from stream_scorer.errors import UsageError
from stream_scorer.runtime.files import replace_file

FORMAT: Final = 3
"""Format version of the file. Version 2 is read too; files of other versions are refused."""

_READABLE: Final = (2, FORMAT)

_COLUMNS: Final = {
    "offsets": "<i8",
    "source_partitions": "<i8",
    "source_offsets": "<i8",
    "key_hashes": "<u4",
    "times": "<i8",
    "leaves": "u1",
    "versions": "<i4",
    "transactions": "<i8",
    "event_times": "<i8",
    "value_hashes": "<i8",
    "marks": "u1",
}
_RESULTS: Final = ("<i8", "<i8", "<i8", "i1", "<i8")


@dataclass(frozen=True, slots=True)
class AuditIdentity:
    """What was audited. An id that the cluster does not report is an empty string.

    Attributes:
        cluster: id of the cluster.
        topics: role (``input``, ``scores``, ``dead_letters``) → name and id of the topic.
        group: the scorers' consumer group, whose committed inputs are judged.
    """

    cluster: str
    topics: Mapping[str, tuple[str, str]]
    group: str

    def as_state(self) -> dict[str, Any]:
        """JSON values for the file."""
        return {
            "cluster": self.cluster,
            "topics": {role: list(topic) for role, topic in self.topics.items()},
            "group": self.group,
        }


def load_state(path: Path, identity: AuditIdentity, limit: int) -> AuditState | None:
    """Load the state of an audit; None if the file does not exist yet.

    Args:
        path: the state file.
        identity: what the state has to belong to.
        limit: number of offenders to list.

    Raises:
        UsageError: the file cannot be read, is damaged, or belongs to other topics or another
            group.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read the state file {path}: {error.strerror}") from error
    try:
        outer = orjson.loads(raw)
        if outer["format"] not in _READABLE:
            raise UsageError(
                f"the state file {path} has format {outer['format']}, but this version reads "
                f"formats up to {FORMAT}: start a new state file"
            )
        body = orjson.dumps(outer["audit"])
        if hashlib.sha256(body).hexdigest() != outer["sha256"]:
            raise UsageError(f"the state file {path} is damaged: its checksum is wrong")
        state = outer["audit"]
        _check_identity(path, state["identity"], identity)
        return parse_state(state, limit)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not an audit state file: {error!r}"[:300]) from error


def save_state(path: Path, identity: AuditIdentity, state: AuditState) -> None:
    """Save the state between two stripes; a crash leaves either the old file or the new one.

    Raises:
        UsageError: the file cannot be written.
    """
    body = {"identity": identity.as_state(), **dump_state(state)}
    checksum = hashlib.sha256(orjson.dumps(body)).hexdigest()
    outer = {"format": FORMAT, "sha256": checksum, "audit": body}
    try:
        replace_file(path, orjson.dumps(outer))
    except OSError as error:
        raise UsageError(f"cannot write the state file {path}: {error.strerror}") from error


def dump_state(state: AuditState) -> dict[str, Any]:
    """The state between two stripes as JSON values."""
    return {
        "is_open": state.is_open,
        "ledgers": {str(p): ledger.as_state() for p, ledger in state.ledgers.items()},
        "logs": [[kind, p, log.as_state()] for (kind, p), log in state.logs.items()],
        "tally": state.tally.as_state(),
        "totals": dict(state.totals),
        "versions": state.versions.as_state(),
        "redriven": state.redriven.as_state(),
        "expiry": state.expiry.as_state(),
        "lost": state.lost.as_state(),
        "held": [_dump_outcomes(outcomes) for outcomes in state.held],
        "strays": [_dump_outcomes(outcomes) for outcomes in state.strays],
        "gaps": [_dump_outcomes(outcomes) for outcomes in state.gaps],
        "early": [_dump_outcomes(outcomes) for outcomes in state.early],
        "times": state.times,
        "ranges": {str(p): row for p, row in state.ranges.items()},
        **({"unjudged": dict(state.unjudged)} if state.unjudged else {}),
    }


def parse_state(body: Mapping[str, Any], limit: int) -> AuditState:
    """Restore the result of :func:`dump_state`."""
    tally = AuditTally(limit)
    tally.restore(body["tally"])
    return AuditState(
        tally=tally,
        ledgers={int(p): Ledger.from_state(row) for p, row in body["ledgers"].items()},
        logs={(OutcomeKind(kind), p): OutcomeLog.from_state(row) for kind, p, row in body["logs"]},
        totals=body["totals"],
        versions=VersionRanges.from_state(body["versions"]),
        redriven=RedrivenOnce.from_state(body["redriven"]),
        expiry=Expiry.from_state(body["expiry"]),
        lost=LostInputs.from_state(body["lost"]) if "lost" in body else LostInputs(),
        held=[_parse_outcomes(row) for row in body["held"]],
        strays=[_parse_outcomes(row) for row in body["strays"]],
        gaps=[_parse_outcomes(row) for row in body["gaps"]],
        early=[_parse_outcomes(row) for row in body["early"]],
        is_open=body["is_open"],
        times=(body["times"][0], body["times"][1]) if body["times"] else None,
        ranges={int(p): (row[0], row[1], row[2]) for p, row in body["ranges"].items()},
        unjudged=Counter(body.get("unjudged", {})),
    )


def _check_identity(path: Path, found: Mapping[str, Any], identity: AuditIdentity) -> None:
    wanted = identity.as_state()
    if found["cluster"] != wanted["cluster"]:
        raise UsageError(
            f"the state file {path} belongs to cluster {found['cluster']}, but this is cluster "
            f"{wanted['cluster']}"
        )
    if found["group"] != wanted["group"]:
        raise UsageError(
            f"the state file {path} belongs to group {found['group']}, not to {wanted['group']}: "
            "check that KAFKA_GROUP_ID is the scorers' group"
        )
    for role, (name, topic_id) in wanted["topics"].items():
        known, known_id = found["topics"][role]
        if known != name:
            raise UsageError(f"the state file {path} belongs to topic {known}, not to {name}")
        if known_id != topic_id:
            raise UsageError(
                f"topic {name} was recreated since the state file {path} was written: "
                "start a new state file"
            )


def _dump_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    results = outcomes.results
    return {
        "kind": outcomes.kind,
        "partition": outcomes.partition,
        "version_names": outcomes.version_names,
        **{name: _dump(getattr(outcomes, name), of) for name, of in _COLUMNS.items()},
        **({"results": _dump_results(results)} if results is not None else {}),
    }


def _dump_results(results: Results) -> list[str]:
    columns: tuple[NDArray[Any], ...] = tuple(results)
    return [_dump(column, of) for column, of in zip(columns, _RESULTS, strict=True)]


def _dump(column: NDArray[Any], of: str) -> str:
    return base64.b64encode(np.ascontiguousarray(column, of).tobytes()).decode()


def _parse_outcomes(state: Mapping[str, Any]) -> Outcomes:
    columns: dict[str, Any] = {
        name: np.frombuffer(base64.b64decode(state[name]), of)
        for name, of in _COLUMNS.items()
        if name in state
    }
    columns["leaves"] = columns["leaves"].reshape(-1, LEAF_BYTES)
    if "is_plausible" in state:  # format 2
        is_plausible = np.frombuffer(base64.b64decode(state["is_plausible"]), "?")
        size = len(is_plausible)
        columns["event_times"] = np.full(size, NOT_STATED, np.int64)
        columns["value_hashes"] = np.full(size, NOT_HASHED, np.int64)
        columns["marks"] = np.where(is_plausible, 0, Mark.IMPLAUSIBLE).astype(np.uint8)
    results = None
    if "results" in state:
        found = zip(state["results"], _RESULTS, strict=True)
        results = Results(*(np.frombuffer(base64.b64decode(one), of) for one, of in found))
    return Outcomes(
        OutcomeKind(state["kind"]),
        state["partition"],
        **columns,
        version_names=tuple(state["version_names"]),
        results=results,
    )
