"""Rolls out images to a cluster by digest, and rolls back if they do not become ready.

    python .ci/deploy.py [--overlay k8s/overlays/production] [--timeout 900] \
        scorer=REPOSITORY@sha256:… trainer=… dashboard=…

The script copies the manifests, sets the images in the copy, and runs ``kubectl apply -k``, then
``kubectl rollout status`` for the scorers' Deployment and the dashboards' StatefulSet. After a
failure it restores the previous revision of both and the trainer's previous image. Everything else
that was applied (settings, policies, autoscalers) stays. The Deployment also fails if no further
pod becomes ready within its ``progressDeadlineSeconds``, whatever the timeout. The caller provides
``kubectl`` and its context.

Exit code: 0 rolled out, 1 failed (and rolled back), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

IMAGES = ("scorer", "trainer", "dashboard")
BY_DIGEST = re.compile(r"[^\s@:]+(?::\d+)?(?:/[^\s@:]+)*@sha256:[0-9a-f]{64}")
IMAGES_BLOCK = re.compile(r"^images:\n(?:[ #-].*\n)*", re.MULTILINE)
INFERENCE, TRAINING = "fraud-detection-inference", "fraud-detection-training"
WORKLOADS = ("deployment/stream-scorer", "statefulset/fraud-dashboard")
TRAINER = ("cronjob/training-pipeline", "trainer")
KUBECTL_SECONDS = 120
# A new scorer is ready within seconds, but they start one at a time (maxSurge 1) and may need a new
# node. Each old pod may use its grace period: a minute per pod, to be safe.
ROLLOUT_SECONDS = 900


def pin_images(kustomization: str, images: Mapping[str, str]) -> str:
    """An overlay's text, with its ``images:`` block replaced by digests.

    Raises:
        ValueError: it does not have exactly one such block.
    """
    lines = ["images:"]
    for name in IMAGES:
        repository, _, digest = images[name].partition("@")
        lines.append(f"  - name: stream-scorer/{name}")
        lines.append(f"    newName: {repository}")
        lines.append(f"    digest: {digest}")
    text, count = IMAGES_BLOCK.subn("\n".join(lines) + "\n", kustomization)
    if count != 1:
        raise ValueError(f"found {count} images: blocks, expected one")
    return text


@contextmanager
def pinned(overlay: Path, images: Mapping[str, str]) -> Iterator[Path]:
    """A temporary copy of the manifests of ``overlay``, with images by digest."""
    root = next(
        (p for p in overlay.resolve().parents if (p / "base" / "kustomization.yaml").is_file()),
        None,
    )
    if root is None:
        raise ValueError(f"no base folder found next to {overlay}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / root.name
        shutil.copytree(root, copy)
        found = 0
        # The overlay itself, or the overlay it builds on: whichever sets the base's images.
        for path in copy.glob("overlays/**/kustomization.yaml"):
            text = path.read_text("utf-8")
            if "name: stream-scorer/" in text:
                path.write_text(pin_images(text, images), "utf-8")
                found += 1
        if not found:
            raise ValueError(f"no overlay in {root} sets the images")
        yield copy / overlay.resolve().relative_to(root)


def kubectl(*arguments: str, timeout: float = KUBECTL_SECONDS) -> str:
    """Run kubectl; returns its standard output.

    Raises:
        subprocess.SubprocessError: it failed or timed out.
    """
    print(f"kubectl {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        ["kubectl", *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=timeout
    )
    print(done.stdout, end="", flush=True)
    return done.stdout


def roll_out(overlay: Path, images: Mapping[str, str], seconds: int) -> None:
    """Apply, and wait until every pod is new and ready; on failure roll back and raise."""
    name, container = TRAINER
    path = "{..containers[0].image}"
    before = kubectl("-n", TRAINING, "get", name, "--ignore-not-found", f"-o=jsonpath={path}")
    revisions = {workload: _revision(workload) for workload in WORKLOADS}
    try:
        with pinned(overlay, images) as copy:
            kubectl("apply", "-k", str(copy))
        for workload in WORKLOADS:
            kubectl(
                "-n", INFERENCE, "rollout", "status", workload,
                f"--timeout={seconds}s", timeout=seconds + 60,
            )  # fmt: skip
    except subprocess.SubprocessError:
        for workload, revision in revisions.items():
            if revision and revision != _revision(workload):
                _try("-n", INFERENCE, "rollout", "undo", workload, f"--to-revision={revision}")
        if before:
            _try("-n", TRAINING, "set", "image", name, f"{container}={before}")
        raise


def _revision(workload: str) -> str:
    """The number of its revision; empty if it does not exist yet, or cannot be read."""
    try:
        if workload.startswith("deployment/"):
            return _read(workload, r"{.metadata.annotations.deployment\.kubernetes\.io/revision}")
        name = _read(workload, "{.status.updateRevision}")
        return _read(f"controllerrevision/{name}", "{.revision}") if name else ""
    except subprocess.SubprocessError:
        return ""


def _read(name: str, path: str) -> str:
    return kubectl("-n", INFERENCE, "get", name, "--ignore-not-found", f"-o=jsonpath={path}")


def _try(*arguments: str) -> None:
    try:
        kubectl(*arguments)
    except subprocess.SubprocessError as error:  # the next command may still succeed
        print(f"deploy: {error}", file=sys.stderr)


def _images(pairs: Sequence[str]) -> dict[str, str]:
    images = dict(pair.partition("=")[::2] for pair in pairs)
    if sorted(images) != sorted(IMAGES) or len(pairs) != len(IMAGES):
        raise ValueError(
            f"give each of {', '.join(IMAGES)} exactly once, as NAME=REPOSITORY@sha256:…"
        )
    for name, image in images.items():
        if not BY_DIGEST.fullmatch(image):
            raise ValueError(f"{name}={image} is not REPOSITORY@sha256:… with 64 hex digits")
    return images


def _seconds(text: str) -> int:
    if (seconds := int(text)) < 1:
        raise ValueError
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="deploy", description=__doc__.splitlines()[0])
    parser.add_argument("--overlay", type=Path, default=Path("k8s/overlays/production"))
    parser.add_argument(
        "--timeout", type=_seconds, default=ROLLOUT_SECONDS, metavar="SECONDS",
        help="seconds each workload may take to replace its pods (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("images", nargs="+", metavar="NAME=REPOSITORY@sha256:…")
    given = parser.parse_args(arguments)
    try:
        images = _images(given.images)
        roll_out(given.overlay, images, given.timeout)
    except ValueError as error:
        parser.error(str(error))
    except subprocess.SubprocessError as error:
        print(f"deploy: failed and rolled back: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
