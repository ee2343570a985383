"""Apache Kafka's jars: downloaded once, checked against committed digests, kept in a cache.

``kafka_jars.lock`` lists every jar of the embedded broker with its sha256. The jars are downloaded
with jgo's resolver, *not* with ``jgo.build``, which is not safe for two processes, may return an
incomplete class path, and never checks a digest. Here one process at a time downloads under a file
lock, into a temporary folder that is renamed into place only if every digest is correct.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from stream_scorer.errors import UsageError
from stream_scorer.runtime.settings import _Environment, load_settings

log = logging.getLogger(__name__)

LOCK_FILE: Final = Path(__file__).with_name("kafka_jars.lock")
FETCH_ATTEMPTS: Final = 2  # a truncated download is repeated once, then refused
LOCK_TIMEOUT_SECONDS: Final = 600.0  # longer than a first download over a slow connection
_STAMP: Final = "verified.json"
_INSTEAD: Final = "or set KAFKA_BOOTSTRAP_SERVERS to use a broker that runs elsewhere"


class CacheSettings(_Environment):
    """Where this project keeps files that it can download or build again."""

    stream_scorer_cache: Path = Field(
        Path("~/.cache/stream-scorer"),
        description="cache folder for Kafka's jars and the local broker's data",
    )


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One jar in the lock file: its Maven coordinates and required digest."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The jar's file name, as in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


Fetch = Callable[[LockedJar, Path], Path]
"""Downloads one jar into a temporary folder and returns its path; raises UsageError on failure."""

Progress = Callable[[int, int], None]
"""Called with (jars done, total jars) after each downloaded jar."""


def cache_folder() -> Path:
    """``STREAM_SCORER_CACHE``, or ``~/.cache/stream-scorer``."""
    return load_settings(CacheSettings).stream_scorer_cache.expanduser().absolute()


def parse_lock(text: str) -> tuple[LockedJar, ...]:
    """Read lines of ``group:artifact:version sha256``.

    Raises:
        ValueError: a line has another format.
    """
    jars = []
    for number, line in enumerate(text.splitlines(), 1):
        coordinates, _, sha256 = line.partition(" ")
        group, _, rest = coordinates.partition(":")
        artifact, _, version = rest.partition(":")
        if not (group and artifact and version) or len(sha256) != 64:
            raise ValueError(
                f"line {number} of the lock file is not 'group:artifact:version sha256'"
            )
        jars.append(LockedJar(group, artifact, version, sha256))
    return tuple(jars)


def kafka_jars() -> tuple[LockedJar, ...]:
    """The jars in the embedded broker's committed lock file."""
    return parse_lock(LOCK_FILE.read_text(encoding="utf-8"))


def jars_folder(jars: Sequence[LockedJar], root: Path) -> Path:
    """The folder for exactly these jars; another lock file gets another folder."""
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()
    return root / f"jars-{digest[:12]}"


def ensure_jars(
    jars: Sequence[LockedJar] | None = None,
    root: Path | None = None,
    *,
    fetch: Fetch | None = None,
    on_progress: Progress | None = None,
) -> tuple[Path, ...]:
    """The verified jars, in the lock file's order; downloaded if they are missing or altered.

    A jar is hashed again only if its size or time changed since the last verification.

    Args:
        jars: the jars to provide; default: those in the committed lock file.
        root: cache folder; default: ``kafka`` in :func:`cache_folder`.
        fetch: downloads one jar; default: jgo's resolver.
        on_progress: called after each downloaded jar.

    Raises:
        UsageError: they are not cached and cannot be downloaded, or have a wrong digest.
    """
    jars = kafka_jars() if jars is None else jars
    root = cache_folder() / "kafka" if root is None else root
    folder = jars_folder(jars, root)
    if _is_stamped(folder, jars):
        return _paths(folder, jars)
    root.mkdir(parents=True, exist_ok=True)
    with file_lock(root / ".lock", "is downloading Kafka's jars"):
        if _is_stamped(folder, jars):  # another process has downloaded them meanwhile
            return _paths(folder, jars)
        if _is_sound(folder, jars):
            _stamp(folder, jars)
            return _paths(folder, jars)
        _fetch_all(jars, root, folder, fetch or fetch_with_jgo, on_progress)
    return _paths(folder, jars)


def fetch_with_jgo(jar: LockedJar, folder: Path) -> Path:
    """Download one jar with jgo's resolver: no class path, no JDK download, no transitive jars."""
    try:
        import requests
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise UsageError(
            f"cannot download Kafka's jars: {error.name} is not installed; "
            f"pip install 'stream-scorer[embedded]', {_INSTEAD}"
        ) from error
    context = MavenContext(repo_cache=folder, resolver=PythonResolver())
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    try:
        return Path(component.artifact().resolve())
    except requests.exceptions.SSLError as error:
        raise UsageError(
            "cannot download Kafka's jars: the certificate of the server or of a proxy is not "
            f"trusted; set REQUESTS_CA_BUNDLE to its CA file ({error})"
        ) from error
    except requests.exceptions.RequestException as error:
        raise UsageError(
            f"cannot download Kafka's jars: no connection ({type(error).__name__}); they are "
            f"downloaded once and then cached: connect and retry, {_INSTEAD}"
        ) from error
    except RuntimeError as error:  # the resolver raises this if a repository refused
        raise UsageError(f"cannot download Kafka's jars: {error}") from error


@contextmanager
def file_lock(path: Path, doing: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` among this machine's processes.

    ``doing`` completes "another process …" in messages.

    Raises:
        UsageError: another process held the lock for too long.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    is_logged = False
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"another process {doing} and has not finished in "
                        f"{LOCK_TIMEOUT_SECONDS:g} s (lock file {path})"
                    ) from None
                if not is_logged:
                    log.info("waiting: another process %s", doing)
                    is_logged = True
                time.sleep(0.1)
        yield


def _paths(folder: Path, jars: Sequence[LockedJar]) -> tuple[Path, ...]:
    return tuple(folder / jar.filename for jar in jars)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _times_and_sizes(folder: Path, jars: Sequence[LockedJar]) -> dict[str, list[int]]:
    stats = {jar.filename: (folder / jar.filename).stat() for jar in jars}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _is_stamped(folder: Path, jars: Sequence[LockedJar]) -> bool:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        return bool(stamp == _times_and_sizes(folder, jars))
    except (OSError, ValueError):
        return False


def _is_sound(folder: Path, jars: Sequence[LockedJar]) -> bool:
    try:
        return all(_sha256(folder / jar.filename) == jar.sha256 for jar in jars)
    except OSError:
        return False


def _stamp(folder: Path, jars: Sequence[LockedJar]) -> None:
    part = folder / f"{_STAMP}.part"
    part.write_text(json.dumps(_times_and_sizes(folder, jars)), encoding="utf-8")
    part.replace(folder / _STAMP)


def _fetch_all(
    jars: Sequence[LockedJar], root: Path, folder: Path, fetch: Fetch, progress: Progress | None
) -> None:
    for leftover in root.glob(".fetch-*"):  # from a process that was killed; we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    log.info("downloading Apache Kafka: %d jars, only once", len(jars))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as temporary:
        done = Path(temporary) / "done"
        done.mkdir()
        for number, jar in enumerate(jars, 1):
            _fetch_one(jar, Path(temporary), fetch).replace(done / jar.filename)
            if progress:
                progress(number, len(jars))
        _stamp(done, jars)
        if folder.exists():
            log.warning("replacing %s: its jars do not have the committed digests", folder)
            shutil.rmtree(folder)
        done.replace(folder)
    log.info("downloaded %d jars in %.1f s", len(jars), time.monotonic() - began)


def _fetch_one(jar: LockedJar, temporary: Path, fetch: Fetch) -> Path:
    for attempt in range(FETCH_ATTEMPTS):
        path = fetch(jar, temporary / f"attempt-{attempt}")
        if _sha256(path) == jar.sha256:
            return path
        log.warning("the downloaded %s has a wrong digest", jar.filename)
    raise UsageError(
        f"cannot download Kafka's jars: {jar.filename} does not have the committed sha256 "
        f"{jar.sha256}"
    )
