"""Checks every locked package against the vulnerabilities that the package index publishes.

    python .ci/audit.py [LOCK …]

It queries the index that pip is configured for: the JSON API (``/pypi/NAME/VERSION/json``) returns
the known vulnerabilities of exactly one release. Mirrors often do not have this API. Then the audit
reports that and passes, unless AUDIT_REQUIRED=1: an outage must not fail a build, a vulnerability
must. Accepted vulnerabilities are listed in ``audit-accepted.txt`` beside this file, one per line:
the identifier, then the reason.

A lock file has pins (``name==version``) and hashes. Requirements without a pin cannot be looked up;
they are counted and their lines are printed.

Exit code: 0 no vulnerabilities (or the index could not be queried), 1 a vulnerability, or no pins
at all (or AUDIT_REQUIRED=1 and not every package was looked up), 2 wrong usage.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_SECONDS = 15.0
GIVE_UP_AFTER = 3  # failures in a row: the other requests would time out too
PINNED = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*===?\s*([^\s;,*\\]+)(?=[\s;\\]|$)"
)
# pip's options that add requirements; no other option does.
BRINGS_MORE = re.compile(r"-(?:[rce]|-(?:requirement|constraint|editable))(?![a-z-])")
SHOWN_LINES = 5
ACCEPTED = Path(__file__).with_name("audit-accepted.txt")


class Release(NamedTuple):
    """One pinned package."""

    name: str
    version: str


class Locks(NamedTuple):
    """The contents of lock files: the releases, and the lines of requirements without a pin."""

    releases: list[Release]
    unpinned: list[str]


class Unavailable(Exception):
    """The index did not return vulnerabilities; the message does not contain its address."""


class SameOrigin(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but sends credentials only to the index; urllib would forward them."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The redirected request."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _origin(following.full_url) != _origin(req.full_url):
            following.remove_header("Authorization")
        return following


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class Index:
    """The JSON API of the index that pip is configured for."""

    def __init__(self) -> None:
        # pip has no public API for its settings that also includes its defaults.
        from pip._internal.commands import create_command

        options, _ = create_command("download").parse_args([])
        parts = urlsplit(options.index_url)
        host = parts.netloc.rpartition("@")[2]
        path = re.sub(r"/(\+?simple)/*$", "", parts.path.rstrip("/"))
        self._base = urlunsplit((parts.scheme, host, path, "", ""))
        self._headers = {"Accept": "application/json"}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        trust = ssl.create_default_context(cafile=options.cert or None)
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust), SameOrigin
        )

    def vulnerabilities(self, release: Release) -> list[dict[str, Any]]:
        """The known vulnerabilities of a release, without withdrawn ones.

        Raises:
            Unavailable: the index did not return them.
        """
        address = f"{self._base}/pypi/{release.name}/{release.version}/json"
        request = urllib.request.Request(address, headers=self._headers)  # noqa: S310 - pip's own
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                found = json.load(answer)["vulnerabilities"]
        except urllib.error.HTTPError as error:
            raise Unavailable(f"HTTP {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise Unavailable(type(error).__name__) from error
        return [one for one in found if not one.get("withdrawn")]


def read_locks(paths: Iterable[Path]) -> Locks:
    """The distinct releases pinned in these files, and ``file:line`` of unpinned requirements."""
    found: set[Release] = set()
    unpinned: list[str] = []
    for path in paths:
        is_continued = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text, was_continued = line.strip(), is_continued
            is_continued = text.endswith("\\") and not text.startswith("#")
            if was_continued or not text or text.startswith("#"):
                continue
            if pinned := PINNED.match(text):
                found.add(Release(pinned[1].lower(), pinned[2]))
            elif not text.startswith("-") or BRINGS_MORE.match(text):
                # Its text is not printed: an address may contain a password.
                unpinned.append(f"{path.name}:{number}")
    return Locks(sorted(found), unpinned)


def read_accepted() -> dict[str, str]:
    """Identifier → reason."""
    if not ACCEPTED.exists():
        return {}
    lines = ACCEPTED.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line.strip() and not line.startswith("#"))
    return {name: reason.strip() for name, _, reason in pairs}


def say(line: str) -> None:
    """Print one line of the result."""
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str]) -> int:
    """Audit the given lock files."""
    paths = [Path(argument) for argument in arguments]
    if not paths or not all(path.is_file() for path in paths):
        sys.stderr.write("usage: python .ci/audit.py LOCK …\n")
        return 2
    releases, unpinned = read_locks(paths)
    if unpinned:
        shown = ", ".join(unpinned[:SHOWN_LINES]) + (", …" if len(unpinned) > SHOWN_LINES else "")
        say(
            f"audit: requirements without a pin (name==version), not looked up: "
            f"{len(unpinned)} ({shown})"
        )
    if not releases:
        say("audit: FAILED: no pins in " + ", ".join(path.name for path in paths))
        return 1
    index, accepted = Index(), read_accepted()
    asked = failed = vulnerable = in_a_row = 0
    why = ""
    for release in releases:
        try:
            found = index.vulnerabilities(release)
        except Unavailable as error:
            failed, in_a_row, why = failed + 1, in_a_row + 1, str(error)
            if in_a_row >= (GIVE_UP_AFTER if asked else 1):
                break
            continue
        asked, in_a_row = asked + 1, 0
        for one in found:
            names = {one["id"], *one.get("aliases", ())}
            reasons = [accepted[name] for name in names & accepted.keys()]
            vulnerable += not reasons
            fixed = ", ".join(one.get("fixed_in") or ()) or "no release yet"
            note = f" (accepted: {reasons[0]})" if reasons else ""
            say(f"{release.name} {release.version}: {one['id']}, fixed in {fixed}{note}")
    say(
        f"audit: {asked} of {len(releases)} locked packages looked up, "
        f"{vulnerable} vulnerabilities" + (f"; the last failure: {why}" if failed else "")
    )
    if asked < len(releases):
        say(
            "audit: NOT COMPLETE: the index that pip is configured for did not answer every "
            "request (it has no JSON API, or cannot be reached)"
        )
    is_complete = asked == len(releases) and not unpinned
    is_required = os.environ.get("AUDIT_REQUIRED") == "1"
    return 1 if vulnerable or (is_required and not is_complete) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
