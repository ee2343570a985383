"""Seeds in the artifact store: the records that an era begins with, named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.features.history.codec import (
    Seed,
    SeedFacts,
    decode_seed,
    read_seed_facts,
)
from stream_scorer.features.history.header import HEADER_MAX_BYTES, STORED_MAX_BYTES, Body
from stream_scorer.model.store.history_names import seed_key
from stream_scorer.model.store.objects import Objects

_ADVICE: Final = "copy it from a backup of the store, or train and publish the model again"


def write_seed(objects: Objects, content: bytes) -> str:
    """Write a seed unless it exists; returns its sha256, which is its name.

    Raises:
        StoreError: it is larger than any reader accepts, or the storage refuses the request.
    """
    if len(content) > STORED_MAX_BYTES:
        raise StoreError(f"the seed has {len(content)} bytes; the limit is {STORED_MAX_BYTES}")
    sha256 = hashlib.sha256(content).hexdigest()
    key = seed_key(sha256)
    if not objects.create(key, content):
        found = objects.read(key, STORED_MAX_BYTES)
        if found is None or found.content != content:  # damaged; every writer writes the same
            objects.overwrite(key, content)
    return sha256


def read_announced(objects: Objects, key: str, body: Body | None) -> bytes | None:
    """A snapshot or seed: as much as its header announced, or whole; None if there is none.

    One that is longer than announced is cut off, and decoding it finds that.

    Raises:
        StoreError: it has more bytes than any reader accepts, or the storage refuses the request.
    """
    if body is not None:
        return objects.read_head(key, HEADER_MAX_BYTES + body.stored_bytes)
    found = objects.read(key, STORED_MAX_BYTES)
    return None if found is None else found.content


def read_seed(
    objects: Objects, spec: str, sha256: str, widths: Mapping[str, int], body: Body | None = None
) -> Seed:
    """A seed by its digest.

    Raises:
        ArtifactCorrupt: it is not that seed, or not one of these history features.
        StoreError: there is none, or the storage refuses the request.
    """
    key = seed_key(sha256)
    name = f"{key} in {objects.where}"
    content = read_announced(objects, key, body)
    if content is None:
        raise StoreError(f"there is no {name}: {_ADVICE}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactCorrupt(
            f"{name} cannot be used: its content is not the one it is named by; {_ADVICE}"
        )
    seed = decode_seed(content, name, widths)
    if seed.header.spec != spec:
        raise ArtifactCorrupt(
            f"{name} cannot be used: it is of other history features (spec "
            f"{seed.header.spec[:16]}, not {spec[:16]})"
        )
    return seed


def read_facts_of_seed(objects: Objects, sha256: str) -> SeedFacts:
    """A seed's header without its records, to know how large they are.

    Raises:
        ArtifactCorrupt: it is not the header of a seed.
        StoreError: there is none, or the storage refuses the request.
    """
    key = seed_key(sha256)
    name = f"{key} in {objects.where}"
    head = objects.read_head(key, HEADER_MAX_BYTES)
    if head is None:
        raise StoreError(f"there is no {name}: {_ADVICE}")
    return read_seed_facts(head, name)
