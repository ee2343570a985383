"""Whether this code can serve a bundle: its operations, its schema and the libraries it needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as package_version
from typing import Any, Final

from schemas.contracts import known_schemas
from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.features import format_1
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.spec import SEMANTICS
from stream_scorer.features.operations.registry import OPERATIONS
from stream_scorer.features.program import UnknownOperationError
from stream_scorer.model.store.names import METADATA, PREPROCESSOR
from stream_scorer.runtime.json_limits import shown

_MAX_SHOWN_OPERATIONS: Final = 5


def check_compatible(metadata: Mapping[str, Any]) -> None:
    """Check what the metadata says about the code that can serve it.

    Raises:
        ArtifactCorrupt: it does not say.
        ArtifactIncompatible: it is not this code.
    """
    _check_operations(metadata)
    schema = metadata.get("schema_fingerprint")
    if schema not in [mark.hex() for mark in known_schemas("transaction")]:
        raise ArtifactIncompatible(f"transaction schema {shown(schema)} is unknown to this code")
    libraries = metadata.get("libraries")
    made_with = libraries.get("lightgbm") if isinstance(libraries, dict) else None
    installed = package_version("lightgbm")
    if str(made_with).partition(".")[0] != installed.partition(".")[0]:
        raise ArtifactIncompatible(
            f"trained with lightgbm {shown(made_with)}; {installed} is installed"
        )


def feature_facts(features: FeatureSet) -> dict[str, Any]:
    """What the metadata says about a feature set."""
    return {
        "names": list(features.names),
        "fingerprint": features.fingerprint,
        "program": features.program.name,
        "operations": list(features.program.semantics),
    }


def _check_operations(metadata: Mapping[str, Any]) -> None:
    """Check that this code has every operation that the features use."""
    features = metadata.get("features")
    facts = features if isinstance(features, dict) else {}
    if metadata["format"] == 1:
        made_for, known = facts.get("fingerprint"), format_1.fingerprint()
        if made_for != known:
            raise ArtifactIncompatible(
                f"built for feature set {shown(made_for)}; bundles of format 1 have {known}"
            )
        return
    named = facts.get("operations")
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ArtifactCorrupt(f"{METADATA} does not name the operations of its features")
    known_names = {f"{op}/{number}" for op, number in OPERATIONS} | {SEMANTICS}
    if unknown := sorted(set(named) - known_names):
        names = shown(", ".join(unknown[:_MAX_SHOWN_OPERATIONS]))
        raise ArtifactIncompatible(
            f"the features use operations that this code does not have: {names}"
        )


def load_features(state: Any, metadata: Mapping[str, Any]) -> FeatureSet:
    """The feature set of a state, in the format that the metadata names.

    Raises:
        ArtifactCorrupt: it is not a feature set, or another one than the metadata says.
        ArtifactIncompatible: this code does not have one of its operations.
    """
    facts = metadata["features"]
    try:
        if metadata["format"] == 1:
            return format_1.read_state(state)
        features = FeatureSet.from_state(state)
    except UnknownOperationError as error:
        raise ArtifactIncompatible(f"{PREPROCESSOR}: {shown(error)}") from error
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise ArtifactCorrupt(f"{PREPROCESSOR}: {shown(error)}") from error
    if any(facts.get(key) != value for key, value in feature_facts(features).items()):
        raise ArtifactCorrupt(f"{PREPROCESSOR} has other features than {METADATA} says")
    return features
