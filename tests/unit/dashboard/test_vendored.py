"""Vendored files are what their manifests say, byte for byte, and come with their licence."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

import dashboard

VENDOR = Path(dashboard.__file__).parent / "static" / "vendor"
FOLDERS = sorted(path for path in VENDOR.iterdir() if path.is_dir())
BANNER = re.compile(rb"\A/\*![^*]*\*/")
SVG_NAMESPACE = b"http://www.w3.org/2000/svg"  # a name; nothing is fetched from it


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_file_is_in_the_manifest_and_unmodified(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["name"] == folder.name
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    assert found == manifest["files"]
    assert "LICENSE" in found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_vendored_code_and_manifest_name_no_address(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.startswith("LICENSE"):
            continue
        text = BANNER.sub(b"", path.read_bytes())  # where the library says what it is
        text = text.replace(SVG_NAMESPACE, b"")
        assert not re.search(rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(", text), path


def test_there_is_something_vendored() -> None:
    assert [folder.name for folder in FOLDERS] == ["htm", "uplot"]
