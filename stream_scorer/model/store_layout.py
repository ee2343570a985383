"""Names inside the artifact store, and what may be said by them.

::

    models/v1/{model.pkl, preprocessor.pkl, metadata.json[, metadata.json.sig]}   immutable
    models/latest/{…}                                a copy for people; this project never reads it
    manifests/latest.txt                             the pointer, "v1"
    manifests/rejected/v1.json                       a version every scorer keeps away from
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

REQUIRED_FILES: Final = (MODEL, PREPROCESSOR, METADATA)
"""A version that lacks one of these is incomplete: never listed, fetched or promoted."""

WRITE_ORDER: Final = (PREPROCESSOR, SIGNATURE, METADATA)
"""After the model has claimed the number; the metadata is last, so it completes the version."""

MODELS: Final = "models/"
LATEST_COPY: Final = "models/latest/"
POINTER: Final = "manifests/latest.txt"
REJECTED: Final = "manifests/rejected/"

MODEL_MAX_BYTES: Final = 512 * 1024 * 1024
"""800 trees of 200 leaves are about 30 MB as text; a hostile store must not fill the memory."""

FILE_MAX_BYTES: Final = 64 * 1024 * 1024
"""For every other file: vocabularies and golden rows are a few megabytes."""

SMALL_MAX_BYTES: Final = 64 * 1024
"""For the pointer and the rejection markers."""

_VERSION = re.compile(r"v[1-9][0-9]{0,8}")
_SHOWN_CHARACTERS: Final = 40


def version_number(version: str) -> int:
    """The number in ``v12``: the order of versions.

    Raises:
        StoreError: it is no version, so it must not become part of a path either.
    """
    if not is_version(version):
        raise StoreError(f"{version[:_SHOWN_CHARACTERS]!r} is not a version such as v3")
    return int(version[1:])


def is_version(text: str) -> bool:
    """Whether ``text`` is ``v`` and a positive number, and nothing else."""
    return _VERSION.fullmatch(text) is not None


def parse_pointer(content: bytes) -> str:
    """The version a pointer's content names; white space around it is forgiven (people edit it).

    Raises:
        StoreError: it names none.
    """
    text = content.decode("utf-8", errors="replace").strip()
    if not is_version(text):
        raise StoreError(
            f"{POINTER} holds {text[:_SHOWN_CHARACTERS]!r} instead of a version such as v3; "
            "write the version to serve into it, or delete it and promote one"
        )
    return text


def file_key(version: str, name: str) -> str:
    """Where one file of a version lives."""
    version_number(version)
    return f"{MODELS}{version}/{name}"


def rejection_key(version: str) -> str:
    """Where the rejection marker of a version lives."""
    version_number(version)
    return f"{REJECTED}{version}.json"


def size_limit(name: str) -> int:
    """The most bytes a file of a version may have."""
    return MODEL_MAX_BYTES if name == MODEL else FILE_MAX_BYTES


def check_size(name: str, content: bytes) -> None:
    """Refuse to publish what no reader would fetch.

    Raises:
        StoreError: ``content`` is over the limit for ``name``.
    """
    if len(content) > size_limit(name):
        raise StoreError(f"{name} has {len(content)} bytes, the limit is {size_limit(name)}")


def check_rest(files: Mapping[str, bytes]) -> None:
    """Check the files that follow the model.

    Raises:
        StoreError: one is missing, unknown or too large.
    """
    missing = [name for name in REQUIRED_FILES if name != MODEL and name not in files]
    unknown = sorted(set(files) - set(WRITE_ORDER))
    if missing or unknown:
        raise StoreError(f"a bundle's files: missing {missing}, unknown {unknown}")
    for name, content in files.items():
        check_size(name, content)
