from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.errors import ArtifactCorrupt, SettingsError
from stream_scorer.model.signing import (
    KeyPair,
    generate_key_pair,
    load_signing_key,
    parse_trusted_keys,
    public_key_base64,
    sign,
    verify_signature,
)

METADATA = b'{"version": "v3"}'


def write_key(folder: Path, pair: KeyPair) -> Path:
    path = folder / "signing.pem"
    path.write_bytes(pair.private_pem)
    return path


def trusted(*pairs: KeyPair) -> tuple[bytes, ...]:
    return parse_trusted_keys(",".join(pair.public_base64 for pair in pairs))


def signature_by(folder: Path, pair: KeyPair) -> bytes:
    return sign(METADATA, load_signing_key(write_key(folder, pair)))


def test_signature_of_a_trusted_key_is_accepted(tmp_path: Path) -> None:
    mine, other = generate_key_pair(), generate_key_pair()
    signature = signature_by(tmp_path, mine)
    verify_signature(METADATA, signature, trusted(mine))
    verify_signature(METADATA, signature, trusted(other, mine))


def test_signature_of_another_key_is_refused(tmp_path: Path) -> None:
    signature = signature_by(tmp_path, generate_key_pair())
    with pytest.raises(ArtifactCorrupt, match="not a signature"):
        verify_signature(METADATA, signature, trusted(generate_key_pair(), generate_key_pair()))


def test_changed_metadata_is_refused(tmp_path: Path) -> None:
    pair = generate_key_pair()
    signature = signature_by(tmp_path, pair)
    with pytest.raises(ArtifactCorrupt, match="not a signature"):
        verify_signature(METADATA + b" ", signature, trusted(pair))


@pytest.mark.parametrize("signature", [b"", b"\x00" * 64, b"short", b"\xff" * 64, b"x" * 1000])
def test_garbage_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(ArtifactCorrupt, match="not a signature"):
        verify_signature(METADATA, signature, trusted(generate_key_pair()))


def test_unsigned_is_refused_only_when_keys_are_set() -> None:
    verify_signature(METADATA, None, ())
    with pytest.raises(ArtifactCorrupt, match="not signed, but MODEL_TRUSTED_KEYS"):
        verify_signature(METADATA, None, trusted(generate_key_pair()))


def test_public_half_of_a_loaded_key_is_the_generated_one(tmp_path: Path) -> None:
    pair = generate_key_pair()
    assert public_key_base64(load_signing_key(write_key(tmp_path, pair))) == pair.public_base64


def test_unset_means_no_keys() -> None:
    assert parse_trusted_keys(None) == ()


def test_keys_may_have_spaces_and_a_trailing_comma() -> None:
    pair = generate_key_pair()
    assert len(parse_trusted_keys(f" {pair.public_base64} ,\n{pair.public_base64},")) == 2


def test_every_wrong_key_is_listed() -> None:
    good = generate_key_pair().public_base64
    short = base64.b64encode(b"short").decode()
    with pytest.raises(SettingsError) as caught:
        parse_trusted_keys(f"{good},not base64!,{short}")
    first, second = str(caught.value).splitlines()
    assert first.startswith("MODEL_TRUSTED_KEYS: key 2: not valid base64")
    assert second.startswith(
        "MODEL_TRUSTED_KEYS: key 3: a raw Ed25519 public key has 32 bytes, this has 5"
    )


@pytest.mark.parametrize("text", ["", "  \n", " , ,"])
def test_text_without_a_key_does_not_disable_the_check(text: str) -> None:
    with pytest.raises(SettingsError, match="contains no key"):
        parse_trusted_keys(text)


def test_missing_key_file_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"MODEL_SIGNING_KEY_FILE=.*none\.pem: No such file"):
        load_signing_key(tmp_path / "none.pem")


def test_file_that_is_not_a_key_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("hunter2")
    with pytest.raises(SettingsError, match="not a PEM private key") as caught:
        load_signing_key(path)
    assert "hunter2" not in str(caught.value)


def test_encrypted_key_is_a_settings_error(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    encryption = serialization.BestAvailableEncryption(b"password")
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    )
    with pytest.raises(SettingsError, match="is encrypted"):
        load_signing_key(path)


def test_key_of_another_kind_is_a_settings_error(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(SettingsError, match="not an Ed25519 key"):
        load_signing_key(path)


def test_known_answer_of_the_standard() -> None:
    # RFC 8032, section 7.1, test 2.
    secret = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    expected = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert sign(b"\x72", key).hex() == expected
    assert public_key_base64(key) == "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
