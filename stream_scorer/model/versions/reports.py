"""The evaluation report of a version: stored beside its bundle, and read with its digest checked.

The metadata names the report under ``files``, as it names the model. Republished with other
thresholds, a version keeps the report of the version that was evaluated, and says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.model.store.names import REPORT, is_version
from stream_scorer.model.store.port import ArtifactStore

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What the metadata of a version says of its report.

    Attributes:
        version: the version that was evaluated.
        sha256: the digest of the page, in hexadecimal.
        size: the bytes of the page.
    """

    version: str
    sha256: str
    size: int

    def as_json(self) -> dict[str, Any]:
        """The facts as the metadata has them."""
        return {"sha256": self.sha256, "bytes": self.size, "version": self.version}


def describe_report(content: bytes, version: str) -> ReportFacts:
    """The facts of the report of ``version``, which is about to be published."""
    return ReportFacts(version, hashlib.sha256(content).hexdigest(), len(content))


def find_report(metadata: Mapping[str, Any]) -> ReportFacts | None:
    """What the metadata says of the report; None if it names none, or not as this code does."""
    files = metadata.get("files")
    found = files.get(REPORT) if isinstance(files, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    version, sha256, size = (found.get(name) for name in ("version", "sha256", "bytes"))
    if not (isinstance(version, str) and is_version(version)):
        return None
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        return None
    return ReportFacts(version, sha256, size) if type(size) is int and size >= 0 else None


def read_report(store: ArtifactStore, version: str, metadata: Mapping[str, Any]) -> bytes | None:
    """The report that the metadata of ``version`` names; None if it names none.

    Raises:
        ArtifactCorrupt: the store has another report than the one that was published, or has lost
            it.
        StoreError: the store cannot be reached, or the report is too large.
    """
    facts = find_report(metadata)
    if facts is None:
        return None
    content = store.read_report(version)
    if content is None:
        raise ArtifactCorrupt(f"{REPORT} of {version} is missing in {store.where}")
    actual = hashlib.sha256(content).hexdigest()
    if actual != facts.sha256:
        raise ArtifactCorrupt(
            f"{REPORT} of {version} has sha256 {actual}; metadata.json says {facts.sha256}"
        )
    return content
