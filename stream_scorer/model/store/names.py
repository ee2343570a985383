"""The names of objects in the artifact store.

::

    models/v1/{model.pkl, preprocessor.pkl, metadata.json}          immutable
    models/v1/{metadata.json.sig, report.html}       immutable; not every version has them
    models/latest/{…}                                a copy for people; this project never reads it
    manifests/latest.txt                             the pointer, "v1"
    manifests/challenger.txt                         what scores in shadow, "v2", or "none"
    manifests/challenges/000001.json                 one move of it; the numbers give the order
    manifests/rejected/v1.json                       a version that no scorer uses
    manifests/accepted/v1.json                       a version that passed its probation; ignored
                                                     while the version is also rejected
    manifests/history/000001.json                    one promotion; the numbers give the order
    comparisons/v1-v2.json                           the newest comparison of two versions
    quality/latest.json                              what live models are worth, by the last run
    drift/latest.json                                what moved since training, by the last run
    manifests/probe/…                                tries conditional writes; deleted at once
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from stream_scorer.errors import StoreError

MODEL: Final = "model.pkl"
PREPROCESSOR: Final = "preprocessor.pkl"
METADATA: Final = "metadata.json"
SIGNATURE: Final = "metadata.json.sig"
REPORT: Final = "report.html"
"""The evaluation, for people: one self-contained page. Scorers never read it."""

REQUIRED_FILES: Final = (MODEL, PREPROCESSOR, METADATA)
"""A version without one of these is incomplete: it is never listed, fetched or promoted."""

WRITE_ORDER: Final = (PREPROCESSOR, REPORT, SIGNATURE, METADATA)
"""After the model, which claims the number. The metadata is last: it completes the version."""

MODELS: Final = "models/"
LATEST_COPY: Final = "models/latest/"
POINTER: Final = "manifests/latest.txt"
CHALLENGER: Final = "manifests/challenger.txt"
CHALLENGES: Final = "manifests/challenges/"
COMPARISONS: Final = "comparisons/"
REJECTED: Final = "manifests/rejected/"
ACCEPTED: Final = "manifests/accepted/"
HISTORY: Final = "manifests/history/"
PROBE: Final = "manifests/probe/"
QUALITY: Final = "quality/latest.json"
DRIFT: Final = "drift/latest.json"

MODEL_MAX_BYTES: Final = 128 * 1024 * 1024
"""800 trees with 200 leaves are about 30 MB of text. Reading a model takes about three times its
size in memory, and a hostile store must not exhaust the memory."""

FILE_MAX_BYTES: Final = 64 * 1024 * 1024
"""For the preprocessor: its vocabularies are a few megabytes."""

METADATA_MAX_BYTES: Final = 8 * 1024 * 1024
"""Golden rows, names and the report's plots are a few hundred kilobytes."""

REPORT_MAX_BYTES: Final = 4 * 1024 * 1024
"""A page with all charts is some 300 kilobytes."""

SMALL_MAX_BYTES: Final = 64 * 1024
"""For the pointers, the markers, the history, comparisons and the signature."""

NO_CHALLENGER: Final = "none"
"""In place of a version: the shadow scoring has ended."""

QUALITY_MAX_BYTES: Final = 1024 * 1024
"""For the figures of ten versions, with some dozen products each."""

DRIFT_MAX_BYTES: Final = 1024 * 1024
"""For 30 histograms of some 60 bins, two numbers each."""

KEYS_MAX: Final = 100_000
"""A listing with more names is not one of this project's stores, and must not exhaust memory."""

NUMBERS_END: Final = 999_000_000
"""Numbers from here on are not counted as used. Numbers have at most nine digits, so a stray name
such as ``v999999999`` would leave none for the next version."""

_LIMITS: Final = {
    METADATA: METADATA_MAX_BYTES,
    SIGNATURE: SMALL_MAX_BYTES,
    REPORT: REPORT_MAX_BYTES,
}
_VERSION = re.compile(r"v[1-9][0-9]{0,8}")
_PROMOTION = re.compile(r"([0-9]{6,9})\.json")
_SHOWN_CHARACTERS: Final = 40


def version_number(version: str) -> int:
    """The number in ``v12``, which orders the versions.

    Raises:
        StoreError: it is not a version, so it must not become part of a path either.
    """
    if not is_version(version):
        raise StoreError(f"{version[:_SHOWN_CHARACTERS]!r} is not a version such as v3")
    return int(version[1:])


def is_version(text: str) -> bool:
    """Whether ``text`` is exactly ``v`` and a positive number."""
    return _VERSION.fullmatch(text) is not None


def parse_pointer(content: bytes) -> str:
    """The version that a pointer names; white space around it is ignored, since people edit it.

    Raises:
        StoreError: it does not name a version.
    """
    text = content.decode("utf-8", errors="replace").strip()
    if not is_version(text):
        raise StoreError(
            f"{POINTER} contains {text[:_SHOWN_CHARACTERS]!r} instead of a version such as v3: "
            "write the version to serve into it, or delete it and promote a version"
        )
    return text


def parse_challenger(content: bytes) -> str | None:
    """The version that scores in shadow; None for ``none``.

    Raises:
        StoreError: it is neither.
    """
    text = content.decode("utf-8", errors="replace").strip()
    if text == NO_CHALLENGER:
        return None
    if not is_version(text):
        raise StoreError(
            f"{CHALLENGER} contains {text[:_SHOWN_CHARACTERS]!r} instead of a version such as v3 "
            f"or {NO_CHALLENGER}: delete it, and run fraud-trainer models challenge vN"
        )
    return text


def comparison_key(champion: str, challenger: str) -> str:
    """The key of the newest comparison of two versions."""
    version_number(champion)
    version_number(challenger)
    return f"{COMPARISONS}{champion}-{challenger}.json"


def file_key(version: str, name: str) -> str:
    """The key of one file of a version."""
    version_number(version)
    return f"{MODELS}{version}/{name}"


def rejection_key(version: str) -> str:
    """The key of a version's rejection marker."""
    version_number(version)
    return f"{REJECTED}{version}.json"


def acceptance_key(version: str) -> str:
    """The key of a version's acceptance marker."""
    version_number(version)
    return f"{ACCEPTED}{version}.json"


def history_key(number: int) -> str:
    """The key of the promotion with this number."""
    return f"{HISTORY}{number:06d}.json"


def history_number(key: str, folder: str = HISTORY) -> int | None:
    """The number in a promotion's key; None for any other key."""
    match = _PROMOTION.fullmatch(key.removeprefix(folder))
    return int(match[1]) if match else None


def marked_version(key: str, prefix: str) -> str | None:
    """The version in a marker's key under ``prefix``; None for a key that is not a marker."""
    version = key.removeprefix(prefix).removesuffix(".json")
    return version if key.endswith(".json") and is_version(version) else None


def size_limit(name: str) -> int:
    """The largest size of a version's file, in bytes."""
    return MODEL_MAX_BYTES if name == MODEL else _LIMITS.get(name, FILE_MAX_BYTES)


def check_size(name: str, content: bytes) -> None:
    """Refuse to publish a file that no reader would fetch.

    Raises:
        StoreError: ``content`` exceeds the limit for ``name``.
    """
    if len(content) > size_limit(name):
        raise StoreError(f"{name} has {len(content)} bytes; the limit is {size_limit(name)}")


def check_rest(files: Mapping[str, bytes]) -> None:
    """Check the files that are written after the model.

    Raises:
        StoreError: a file is missing, unknown or too large.
    """
    missing = [name for name in REQUIRED_FILES if name != MODEL and name not in files]
    unknown = sorted(set(files) - set(WRITE_ORDER))
    if missing or unknown:
        raise StoreError(f"not a bundle's files: missing {missing}, unknown {unknown}")
    for name, content in files.items():
        check_size(name, content)
