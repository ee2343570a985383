"""The bundle: the model, features, thresholds and metadata of one version, verified at load."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any, Final

from schemas.batch import TransactionBatch
from schemas.contracts import load_schema, schema_fingerprint
from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.bundled_history import HistoryDraft, check_history, history_facts
from stream_scorer.model.calibration import Calibration, parse_calibration
from stream_scorer.model.compatibility import check_compatible, feature_facts, load_features
from stream_scorer.model.forest.forest import feature_names_in, gives_log_odds
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import Predictor, build_predictor
from stream_scorer.model.golden import check_golden, golden_facts
from stream_scorer.model.signing import verify_signature
from stream_scorer.model.store.names import METADATA, MODEL, PREPROCESSOR, SIGNATURE, size_limit
from stream_scorer.model.unpickle import load_pickle
from stream_scorer.runtime.json_limits import parse_object, shown

FORMAT: Final = 2
"""Version of the bundle's own layout. In format 1 the features were code, not a program."""

HISTORY_FORMAT: Final = 3
"""Of bundles whose features read card history. Releases without it refuse them by this number, and
go on with all others."""

READABLE_FORMATS: Final = (1, FORMAT, HISTORY_FORMAT)

_PICKLE_PROTOCOL: Final = 5
_LIBRARIES: Final = ("lightgbm", "numba", "numpy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The scores at and above which a transaction is reviewed, and blocked."""

    review: float
    block: float


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified model version, ready to score.

    ``predictor`` is the fastest exact one; ``reference`` is LightGBM itself, built on first use.
    Without a ``calibration``, a score is the sigmoid of the raw score and no probability.
    """

    version: str
    metadata: Mapping[str, Any]
    features: FeatureSet
    predictor: Predictor
    reference: LightGBMModel
    thresholds: Thresholds
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A trained model before it has a version.

    If its features read card history, ``golden`` has the columns of it, and ``history`` is given.
    """

    model_text: str
    features: FeatureSet
    thresholds: Thresholds
    golden: TransactionBatch
    facts: Mapping[str, Any]
    calibration: Calibration | None = None
    history: HistoryDraft | None = None

    @property
    def format(self) -> int:
        """Version of the bundle's layout."""
        return FORMAT if self.features.program.history is None else HISTORY_FORMAT


def build_files(draft: Draft) -> tuple[bytes, Callable[[str], dict[str, bytes]]]:
    """``model.pkl``, and a function that builds the other files for a version.

    Both pickles hold plain data only: ``{"format", "lightgbm", "calibration"}`` with the model's
    text and the knots of the map (or None), and the feature set's state. ``facts`` are the
    trainer's part of the metadata (training data, parameters, metrics, how thresholds were chosen,
    reference histograms).

    Raises:
        ArtifactCorrupt: the compiled predictor and LightGBM disagree on the golden rows.
        ArtifactIncompatible: the model's raw score is not log-odds, or has no attributions.
        ValueError: a loader would refuse the thresholds, features or calibration, or ``facts`` has
            a key that this function sets.
    """
    _check_log_odds(draft.model_text)
    _check_thresholds(draft.thresholds)
    draft.features.check_size()
    calibration = None if draft.calibration is None else draft.calibration.state()
    parse_calibration(calibration)
    model = pickle.dumps(
        {"format": draft.format, "lightgbm": draft.model_text, "calibration": calibration},
        _PICKLE_PROTOCOL,
    )
    features = pickle.dumps(
        {"format": draft.format, "features": draft.features.state()}, _PICKLE_PROTOCOL
    )
    golden = golden_facts(draft.model_text, draft.features, draft.golden, draft.calibration)
    history = _history(draft)
    thresholds = {"review": draft.thresholds.review, "block": draft.thresholds.block}

    def rest(version: str) -> dict[str, bytes]:
        metadata = {
            "format": draft.format,
            "version": version,
            "files": {MODEL: _digest(model), PREPROCESSOR: _digest(features)},
            "features": feature_facts(draft.features),
            "schema_fingerprint": schema_fingerprint(load_schema("transaction")).hex(),
            "python": platform.python_version(),
            "libraries": _library_versions(),
            "thresholds": thresholds,
            "golden": golden,
            **history,
        }
        clash = metadata.keys() & draft.facts.keys() - {"thresholds"}
        if clash:
            raise ValueError(f"facts must not have the keys {sorted(clash)}")
        merged = {**metadata, **draft.facts}
        merged["thresholds"] = {**draft.facts.get("thresholds", {}), **thresholds}
        return {PREPROCESSOR: features, METADATA: json.dumps(merged, indent=1).encode()}

    return model, rest


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = package_version(name)
    return found


def _digest(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _history(draft: Draft) -> dict[str, Any]:
    """The metadata's part about card history; empty if the features read none."""
    spec = draft.features.program.history
    if spec is None and draft.history is None and draft.golden.history is None:
        return {}
    if spec is None or draft.history is None or draft.golden.history is None:
        raise ValueError(
            "features with card history need a golden stream and golden rows with their history, "
            "and others must have neither"
        )
    return {"history": history_facts(spec, draft.history)}


def load_bundle(
    files: Mapping[str, bytes], version: str, trusted_keys: Sequence[bytes] = ()
) -> Bundle:
    """Verify a version's files and build its bundle.

    The checks, in order: signature (when keys are set), layout and version, digests, fingerprints
    and library versions, the pickles through the allow-list (which is empty: they hold plain
    data), the golden rows.

    Raises:
        ArtifactCorrupt: the files are not the published ones.
        ArtifactIncompatible: the bundle was built for other code.
    """
    metadata = _read_metadata(files, version, trusted_keys)
    _check_digests(files, metadata)
    check_compatible(metadata)
    layout = metadata["format"]
    model = _plain(files, MODEL, layout)
    preprocessor = _plain(files, PREPROCESSOR, layout)
    text = model.get("lightgbm")
    if not isinstance(text, str):
        raise ArtifactCorrupt(f"{MODEL} contains no model text")
    features = load_features(preprocessor.get("features"), metadata)
    _check_history(features, metadata)
    try:
        predictor = build_predictor(text)
        calibration = parse_calibration(model.get("calibration"))
        thresholds = _thresholds(metadata)
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise ArtifactCorrupt(f"version {version}: {shown(error)}") from error
    _check_log_odds(text)
    if feature_names_in(text) != features.names:
        raise ArtifactIncompatible(
            f"version {version}: the model and the features have different columns"
        )
    bundle = Bundle(
        version, metadata, features, predictor, LightGBMModel(text), thresholds, calibration
    )
    check_golden(metadata, features, predictor, calibration)
    return bundle


def _check_history(features: FeatureSet, metadata: Mapping[str, Any]) -> None:
    spec, layout = features.program.history, metadata["format"]
    if (spec is not None) != (layout == HISTORY_FORMAT):
        what = "have no card history" if spec is None else "have card history"
        raise ArtifactCorrupt(f"the features {what}, and the bundle has format {layout}")
    if spec is not None:
        check_history(metadata, spec)


def _read_metadata(
    files: Mapping[str, bytes], version: str, trusted_keys: Sequence[bytes]
) -> dict[str, Any]:
    if missing := [n for n in (METADATA, MODEL, PREPROCESSOR) if n not in files]:
        raise ArtifactCorrupt(f"version {version} has no {', '.join(missing)}")
    for name in files:
        if len(files[name]) > size_limit(name):
            raise ArtifactCorrupt(
                f"{name} of {version} has {len(files[name])} bytes; the limit is {size_limit(name)}"
            )
    verify_signature(files[METADATA], files.get(SIGNATURE), trusted_keys)
    try:
        metadata = parse_object(files[METADATA])
    except ValueError as error:
        raise ArtifactCorrupt(f"{METADATA} of {version} cannot be read: {error}") from error
    if metadata.get("version") != version:
        raise ArtifactCorrupt(f"{METADATA} of {version} belongs to another version")
    layout = metadata.get("format")
    if type(layout) is not int or layout not in READABLE_FORMATS:
        formats = ", ".join(map(str, READABLE_FORMATS))
        raise ArtifactIncompatible(
            f"version {version} has bundle format {shown(layout)}; this code reads {formats}"
        )
    return metadata


def _check_digests(files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> None:
    for name in (MODEL, PREPROCESSOR):
        try:
            expected = metadata["files"][name]["sha256"]
        except (KeyError, TypeError):
            raise ArtifactCorrupt(f"{METADATA} has no digest of {name}") from None
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != expected:
            raise ArtifactCorrupt(f"{name} has sha256 {actual}; {METADATA} says {shown(expected)}")


def _plain(files: Mapping[str, bytes], name: str, layout: int) -> dict[str, Any]:
    value = load_pickle(files[name], {})
    if not isinstance(value, dict) or value.get("format") != layout:
        raise ArtifactCorrupt(f"{name} does not contain a bundle's data")
    return value


def _thresholds(metadata: Mapping[str, Any]) -> Thresholds:
    found = metadata["thresholds"]
    thresholds = Thresholds(float(found["review"]), float(found["block"]))
    _check_thresholds(thresholds)
    return thresholds


def _check_thresholds(thresholds: Thresholds) -> None:
    review, block = thresholds.review, thresholds.block
    # A threshold above 1 is allowed: it means "never".
    if not (math.isfinite(block) and 0.0 <= review <= block):
        raise ValueError(
            f"thresholds {review!r} (review) and {block!r} (block) must be 0 <= review <= block"
        )


def _check_log_odds(model_text: str) -> None:
    if not gives_log_odds(model_text):
        raise ArtifactIncompatible("the model's raw score is not the log-odds of one class")


def created_at(metadata: Mapping[str, Any]) -> float | None:
    """When a version was trained, in epoch seconds; None where its metadata does not say."""
    given = metadata.get("created_at")
    try:
        return datetime.fromisoformat(given).timestamp() if isinstance(given, str) else None
    except ValueError:
        return None
