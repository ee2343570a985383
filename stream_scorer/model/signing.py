"""Ed25519 signatures (RFC 8032) over ``metadata.json``, which holds the other files' digests.

Private keys are PEM files (PKCS 8, not encrypted). Public keys are the 32 raw bytes in base64. A
signature is its 64 raw bytes, so ``openssl pkeyutl -verify -rawin`` can check it too. A signature
proves who published a version, not that the version is the newest one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stream_scorer.errors import ArtifactCorrupt, SettingsError

PUBLIC_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key pair: the file for the trainer, the text for MODEL_TRUSTED_KEYS."""

    private_pem: bytes
    public_base64: str


def generate_key_pair() -> KeyPair:
    """A new key pair; nothing is written to disk."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(pem, public_key_base64(key))


def public_key_base64(key: Ed25519PrivateKey) -> str:
    """The public half of ``key``, in the form MODEL_TRUSTED_KEYS expects."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """The private key in ``path``.

    Raises:
        SettingsError: the file cannot be read or does not contain an Ed25519 key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"MODEL_SIGNING_KEY_FILE={path}: {error.strerror}") from error
    except TypeError:  # the library raises this when a password is needed
        raise SettingsError(
            f"MODEL_SIGNING_KEY_FILE={path} is encrypted; use a key without a password"
        ) from None
    except (ValueError, UnsupportedAlgorithm):  # not chained: the cause may quote the file
        raise SettingsError(f"MODEL_SIGNING_KEY_FILE={path} is not a PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"MODEL_SIGNING_KEY_FILE={path} is not an Ed25519 key")
    return key


def parse_trusted_keys(text: str | None) -> tuple[bytes, ...]:
    """The raw public keys in MODEL_TRUSTED_KEYS (base64, comma separated); empty if it is None.

    Raises:
        SettingsError: an entry is not a key, or the text contains no key. A typo must never
            disable the signature check.
    """
    if text is None:
        return ()
    keys: list[bytes] = []
    faults: list[str] = []
    for number, item in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        try:
            keys.append(_parse_public_key(item))
        except ValueError as error:
            faults.append(f"MODEL_TRUSTED_KEYS: key {number}: {error}")
    if not keys and not faults:
        faults.append("MODEL_TRUSTED_KEYS contains no key")
    if faults:
        raise SettingsError("\n".join(faults))
    return tuple(keys)


def sign(metadata: bytes, key: Ed25519PrivateKey) -> bytes:
    """The content of ``metadata.json.sig``."""
    return key.sign(metadata)


def verify_signature(
    metadata: bytes, signature: bytes | None, trusted_keys: Sequence[bytes]
) -> None:
    """Accept ``metadata`` if one of ``trusted_keys`` signed it, or if no keys are set.

    Raises:
        ArtifactCorrupt: it is unsigned, was changed, or was signed by another key.
    """
    if not trusted_keys:
        return
    if signature is None:
        raise ArtifactCorrupt("metadata.json is not signed, but MODEL_TRUSTED_KEYS requires it")
    for raw in trusted_keys:
        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, metadata)
        except InvalidSignature:
            continue
        return
    raise ArtifactCorrupt(
        "metadata.json.sig is not a signature of metadata.json by a key in MODEL_TRUSTED_KEYS"
    )


def _parse_public_key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not valid base64: {error}") from error
    if len(raw) != PUBLIC_KEY_BYTES:
        raise ValueError(
            f"a raw Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, this has {len(raw)}"
        )
    Ed25519PublicKey.from_public_bytes(raw)
    return raw
