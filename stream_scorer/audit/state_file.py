"""An audit on file, so that the next one reads only what is new.

The file is JSON with a checksum, written whole or not at all, and names the cluster and the topics
by their ids: topics made anew under the same names are others.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from stream_scorer.audit.auditor import Audit
from stream_scorer.audit.expiry import Expiry
from stream_scorer.audit.findings import LEAF_BYTES, OutcomeKind, Outcomes
from stream_scorer.audit.ledger import Ledger
from stream_scorer.audit.outcome_log import OutcomeLog
from stream_scorer.audit.redriven import RedrivenOnce
from stream_scorer.audit.versions import VersionRanges
from stream_scorer.errors import UsageError

FORMAT: Final = 2
"""Of the file; one of another format is refused."""

_COLUMNS: Final = {
    "offsets": "<i8",
    "source_partitions": "<i8",
    "source_offsets": "<i8",
    "key_hashes": "<u4",
    "times": "<i8",
    "leaves": "u1",
    "versions": "<i4",
    "transactions": "<i8",
    "is_plausible": "?",
}


@dataclass(frozen=True, slots=True)
class AuditIdentity:
    """What an audit is of: ids where the cluster tells them, else empty text.

    Attributes:
        cluster: the cluster's id.
        topics: input, scores and dead letters, each with its name and id.
        group: the scorers' consumer group, whose committed inputs are judged.
    """

    cluster: str
    topics: Mapping[str, tuple[str, str]]
    group: str

    def as_state(self) -> dict[str, Any]:
        """For the file."""
        return {
            "cluster": self.cluster,
            "topics": {role: list(topic) for role, topic in self.topics.items()},
            "group": self.group,
        }


def load_audit(path: Path, identity: AuditIdentity, limit: int) -> Audit | None:
    """The audit on file; None when there is no file yet.

    Raises:
        UsageError: it cannot be read, is damaged, or is of other topics or another group.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"the state {path} cannot be read: {error.strerror}") from error
    try:
        outer = orjson.loads(raw)
        if outer["format"] != FORMAT:
            raise UsageError(
                f"the state {path} is of format {outer['format']}, this version reads {FORMAT}: "
                "begin a new one"
            )
        body = orjson.dumps(outer["audit"])
        if hashlib.sha256(body).hexdigest() != outer["sha256"]:
            raise UsageError(f"the state {path} is damaged: its checksum is wrong")
        state = outer["audit"]
        _check_identity(path, state["identity"], identity)
        return parse_audit(state, limit)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the state {path} is no state of an audit: {error!r}"[:300]) from error


def save_audit(path: Path, identity: AuditIdentity, audit: Audit) -> None:
    """Put the audit on file, between two stripes; a crash leaves the old file or the new one.

    Raises:
        UsageError: it cannot be written.
    """
    state = {"identity": identity.as_state(), **dump_audit(audit)}
    body = orjson.dumps(state)
    whole = {"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest(), "audit": state}
    # Two audits at once would otherwise write into one file.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(orjson.dumps(whole))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"the state {path} cannot be written: {error.strerror}") from error


def dump_audit(audit: Audit) -> dict[str, Any]:
    """An audit between two stripes as JSON values."""
    return {
        "is_open": audit.is_open,
        "ledgers": {str(p): ledger.as_state() for p, ledger in audit.ledgers.items()},
        "logs": [[kind, p, log.as_state()] for (kind, p), log in audit.logs.items()],
        "tally": audit.tally.as_state(),
        "totals": dict(audit.totals),
        "versions": audit.versions.as_state(),
        "redriven": audit.redriven.as_state(),
        "expiry": audit.expiry.as_state(),
        "held": [_dump_outcomes(outcomes) for outcomes in audit.held],
        "strays": [_dump_outcomes(outcomes) for outcomes in audit.strays],
        "gaps": [_dump_outcomes(outcomes) for outcomes in audit.gaps],
        "early": [_dump_outcomes(outcomes) for outcomes in audit.early],
        "times": audit.times,
        "ranges": {str(p): row for p, row in audit.ranges.items()},
    }


def parse_audit(state: Mapping[str, Any], limit: int) -> Audit:
    """What :func:`dump_audit` gave."""
    audit = Audit(limit, is_carrying=True)
    audit.is_open = state["is_open"]
    audit.ledgers = {int(p): Ledger.from_state(row) for p, row in state["ledgers"].items()}
    audit.logs = {
        (OutcomeKind(kind), p): OutcomeLog.from_state(row) for kind, p, row in state["logs"]
    }
    audit.tally.restore(state["tally"])
    audit.totals = state["totals"]
    audit.versions = VersionRanges.from_state(state["versions"])
    audit.redriven = RedrivenOnce.from_state(state["redriven"])
    audit.expiry = Expiry.from_state(state["expiry"])
    audit.held = [_parse_outcomes(row) for row in state["held"]]
    audit.strays = [_parse_outcomes(row) for row in state["strays"]]
    audit.gaps = [_parse_outcomes(row) for row in state["gaps"]]
    audit.early = [_parse_outcomes(row) for row in state["early"]]
    audit.times = (state["times"][0], state["times"][1]) if state["times"] else None
    audit.ranges = {int(p): (row[0], row[1], row[2]) for p, row in state["ranges"].items()}
    return audit


def _check_identity(path: Path, found: Mapping[str, Any], identity: AuditIdentity) -> None:
    wanted = identity.as_state()
    if found["cluster"] != wanted["cluster"]:
        raise UsageError(
            f"the state {path} is of cluster {found['cluster']}, this is {wanted['cluster']}"
        )
    if found["group"] != wanted["group"]:
        raise UsageError(
            f"the state {path} is of group {found['group']}, not of {wanted['group']}: is "
            "KAFKA_GROUP_ID that of the scorers?"
        )
    for role, (name, topic_id) in wanted["topics"].items():
        known, known_id = found["topics"][role]
        if known != name:
            raise UsageError(f"the state {path} is of topic {known}, not of {name}")
        if known_id != topic_id:
            raise UsageError(f"topic {name} was made anew since the state {path} was written")


def _dump_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    columns = {
        name: base64.b64encode(np.ascontiguousarray(getattr(outcomes, name), of).tobytes()).decode()
        for name, of in _COLUMNS.items()
    }
    return {
        "kind": outcomes.kind,
        "partition": outcomes.partition,
        "version_names": outcomes.version_names,
        **columns,
    }


def _parse_outcomes(state: Mapping[str, Any]) -> Outcomes:
    columns: dict[str, Any] = {
        name: np.frombuffer(base64.b64decode(state[name]), of) for name, of in _COLUMNS.items()
    }
    columns["leaves"] = columns["leaves"].reshape(-1, LEAF_BYTES)
    names = tuple(state["version_names"])
    return Outcomes(OutcomeKind(state["kind"]), state["partition"], **columns, version_names=names)
