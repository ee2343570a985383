"""What MLflow gets to know about a run and a version: pure functions of the plan and the metadata.

The limits are those of the oldest MLflow server that this client works with.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.tracking.identity import model_digest

PARAM_MAX_CHARACTERS: Final = 500
TAG_MAX_CHARACTERS: Final = 5000
KEY_MAX_CHARACTERS: Final = 250
DIGEST_MAX_CHARACTERS: Final = 36

HEADLINE: Final = "test"
"""The measures under this name in ``metrics`` go without a prefix: they are what runs are compared
by."""

_SECTIONS: Final = ("evaluation", "calibration", "served", "thresholds", "gate")
_LIST_MAX: Final = 50
"""Longer lists are curves, not measures: the report shows them."""

_NOT_IN_A_KEY: Final = re.compile(r"[^A-Za-z0-9_\-. ]")


def params_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """A plan, or the metadata's ``parameters``, as MLflow's parameters."""
    return {
        _key(name): str(value)[:PARAM_MAX_CHARACTERS]
        for name, value in _leaves(plan)
        if value is not None
    }


def metrics_of(metadata: Mapping[str, Any]) -> dict[str, float]:
    """Every finite number of the evaluation.

    An interval ``[low, high]`` under ``x_interval`` gives ``x_low`` and ``x_high``.
    """
    sections = {name: metadata.get(name) for name in _SECTIONS}
    for part, measures in _mapping(metadata.get("metrics")).items():
        sections["" if part == HEADLINE else part] = measures
    found: dict[str, float] = {}
    for section, values in sections.items():
        prefix = f"{section}." if section else ""
        for name, value in _numbers(values):
            found[_key(prefix + name)] = value
    return found


def tags_of(metadata: Mapping[str, Any], store: str) -> dict[str, str]:
    """The version, its store, the gate's verdict, and how thresholds and calibration were made."""
    gate = _mapping(metadata.get("gate"))
    training = _mapping(metadata.get("training"))
    history = _mapping(metadata.get("history"))
    tags: dict[str, Any] = {
        "model_version": metadata.get("version"),
        "model_sha256": model_digest(metadata),
        "store": mask_userinfo(store),
        "verdict": _verdict(gate),
        "verdict.refusals": "; ".join(map(str, gate.get("refusals") or ())),
        "verdict.notes": "; ".join(map(str, gate.get("notes") or ())),
        "champion_compared": _mapping(gate.get("champion")).get("version"),
        "data_source": mask_userinfo(str(training.get("source", ""))),
        "data_sha256": json.dumps(training.get("sha256"), sort_keys=True),
        "features": _mapping(metadata.get("features")).get("fingerprint"),
        "history": history.get("fingerprint"),
        "history_seed": _mapping(history.get("seed")).get("sha256"),
    }
    for section in ("thresholds", "calibration"):
        for name, value in _mapping(metadata.get(section)).items():
            if isinstance(value, str):
                tags[f"{section}.{name}"] = value
    return {
        _key(name): str(value)[:TAG_MAX_CHARACTERS]
        for name, value in tags.items()
        if value not in (None, "")
    }


def data_set_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The training data as MLflow describes a data set; its digest has 36 characters at most."""
    training = _mapping(metadata.get("training"))
    source = mask_userinfo(str(training.get("source", "unknown")))
    sha256 = training.get("sha256")
    digests = sha256 if isinstance(sha256, Mapping) else {"data": sha256}
    first = next((str(digest) for digest in digests.values() if digest), "")
    window = training.get("window_seconds")
    profile = {
        "rows": training.get("rows"),
        "frauds": training.get("frauds"),
        "first_seconds": window[0] if isinstance(window, Sequence) and window else None,
        "last_seconds": window[-1] if isinstance(window, Sequence) and window else None,
        "sha256": sha256,
    }
    return {
        "name": source.rstrip("/").rpartition("/")[2][:KEY_MAX_CHARACTERS] or "training data",
        "digest": first[:DIGEST_MAX_CHARACTERS] or "unknown",
        "source": json.dumps({"uri": source}),
        "profile": json.dumps(profile),
    }


def _verdict(gate: Mapping[str, Any]) -> str:
    if not isinstance(gate.get("passed"), bool):
        return "not judged"
    return "passed" if gate["passed"] else "refused"


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of everything below ``value`` that MLflow can store as a metric."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if math.isfinite(value):
            yield name, float(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if name.endswith("interval"):
            yield from _ends(value, name)
        elif len(value) <= _LIST_MAX and all(isinstance(inner, Mapping) for inner in value):
            for number, inner in enumerate(value, 1):
                yield from _numbers(inner, f"{name}.{number}")


def _ends(interval: Sequence[Any], name: str) -> Iterator[tuple[str, float]]:
    """``x_interval`` and ``x.interval`` give ``x_low`` and ``x_high``."""
    stem = name.removesuffix("interval").rstrip("._")
    if len(interval) == len(("low", "high")):
        for end, bound in zip(("low", "high"), interval, strict=True):
            yield from _numbers(bound, f"{stem}_{end}")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _key(name: str) -> str:
    return _NOT_IN_A_KEY.sub("_", name)[:KEY_MAX_CHARACTERS]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
