"""Looks every locked package up in the advisories that the package index publishes.

    python .ci/audit.py [LOCK …]

The address is pip's own: wherever pip installs from, its JSON interface
(``/pypi/NAME/VERSION/json``) is asked for the known vulnerabilities of exactly that release.
Mirrors often do not have it, and then the audit says so and passes, unless AUDIT_REQUIRED=1: an
outage must not stop a build, a vulnerability must. Those that were judged and accepted stand in
``audit-accepted.txt`` beside this file, one a line: the identifier, then the reason.

Exit code: 0 nothing found (or nothing could be asked), 1 a vulnerability (or AUDIT_REQUIRED=1 and
not every package could be looked up), 2 wrong usage.
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
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_SECONDS = 15.0
GIVE_UP_AFTER = 3  # failures in a row: the rest would fail too, one timeout after the other
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
ACCEPTED = Path(__file__).with_name("audit-accepted.txt")


class Release(NamedTuple):
    """One pinned package."""

    name: str
    version: str


class Unavailable(Exception):
    """The index did not answer as one with advisories does; the message has no address."""


class Index:
    """The JSON interface of the index that pip is configured for."""

    def __init__(self) -> None:
        # pip has no public way to ask for its settings that also knows its default.
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
        self._trust = ssl.create_default_context(cafile=options.cert or None)

    def vulnerabilities(self, release: Release) -> list[dict[str, Any]]:
        """What is known of a release, without what was withdrawn.

        Raises:
            Unavailable: it cannot be told.
        """
        address = f"{self._base}/pypi/{release.name}/{release.version}/json"
        request = urllib.request.Request(address, headers=self._headers)  # noqa: S310 - pip's own
        try:
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=TIMEOUT_SECONDS, context=self._trust
            ) as answer:
                found = json.load(answer)["vulnerabilities"]
        except urllib.error.HTTPError as error:
            raise Unavailable(f"HTTP {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise Unavailable(type(error).__name__) from error
        return [one for one in found if not one.get("withdrawn")]


def read_locks(paths: Iterable[Path]) -> list[Release]:
    """Every release pinned in these files, once."""
    found = {
        Release(name.lower(), version)
        for path in paths
        for name, version in PINNED.findall(path.read_text(encoding="utf-8"))
    }
    return sorted(found)


def read_accepted() -> dict[str, str]:
    """Identifier → reason."""
    if not ACCEPTED.exists():
        return {}
    lines = ACCEPTED.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line.strip() and not line.startswith("#"))
    return {name: reason.strip() for name, _, reason in pairs}


def say(line: str) -> None:
    """One line of the result."""
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str]) -> int:
    """Audit the locks named."""
    paths = [Path(argument) for argument in arguments]
    if not paths or not all(path.is_file() for path in paths):
        sys.stderr.write("usage: python .ci/audit.py LOCK …\n")
        return 2
    releases, index, accepted = read_locks(paths), Index(), read_accepted()
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
            say(f"{release.name} {release.version}: {one['id']}, mended in {fixed}{note}")
    say(
        f"audit: {asked} of {len(releases)} locked packages looked up, "
        f"{vulnerable} vulnerabilities" + (f"; the last failure: {why}" if failed else "")
    )
    if asked < len(releases):
        say(
            "audit: NOT COMPLETE: the index that pip is configured for did not tell "
            "(no JSON interface there, or it is out of reach)"
        )
    incomplete = asked < len(releases) and os.environ.get("AUDIT_REQUIRED") == "1"
    return 1 if vulnerable or incomplete else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
