"""Each file holds one resource, every file is used, and none holds a secret."""

from __future__ import annotations

import hashlib

import yaml

from tests.k8s.support.rendering import K8S, ROOT, load, render

DEVELOPMENT = {"development", "development-only"}


def test_every_manifest_holds_one_document_and_is_listed() -> None:
    for folder in {path.parent for path in K8S.rglob("kustomization.yaml")}:
        spec = load(folder / "kustomization.yaml")
        listed = {*spec.get("resources", []), *(p["path"] for p in spec.get("patches", []))}
        present = {
            str(path.relative_to(folder))
            for path in [*folder.glob("*.yaml"), *folder.glob("patches/*.yaml")]
            if path.name != "kustomization.yaml"
        }
        assert present == {name for name in listed if name.endswith(".yaml")}, folder
        for name in present:
            text = (folder / name).read_text(encoding="utf-8")
            assert len(list(yaml.safe_load_all(text))) == 1, name


def test_file_names_contain_the_kind() -> None:
    for path in K8S.rglob("*.yaml"):
        item = load(path)
        if path.name == "kustomization.yaml" or not isinstance(item, dict):
            continue
        kind = "network" if item["kind"] == "NetworkPolicy" else item["kind"].lower()
        if kind == "horizontalpodautoscaler":
            kind = "hpa"
        if kind == "poddisruptionbudget":
            kind = "pdb"
        assert kind in path.name, path


def test_no_secret_is_in_the_base_or_in_production() -> None:
    for variant in ("base", "overlays/production"):
        assert not [item for item in render(variant) if item["kind"] == "Secret"]
        text = "".join(p.read_text(encoding="utf-8") for p in (K8S / variant).rglob("*.yaml"))
        assert "secretGenerator" not in text


def test_development_credentials_are_marked_as_such() -> None:
    lines = (K8S / "overlays/local/object-store.env").read_text(encoding="utf-8").splitlines()
    assert {line.split("=", 1)[1] for line in lines} == DEVELOPMENT
    tokens = (K8S / "overlays/local/dashboard-tokens.txt").read_text(encoding="utf-8")
    name, _, digest = tokens.strip().split(":")
    assert name == "developer"
    assert digest == hashlib.sha256(b"development-only").hexdigest()
    shipped = (ROOT / ".env").read_text(encoding="utf-8")
    assert "S3_SECRET_KEY=development-only\n" in shipped
