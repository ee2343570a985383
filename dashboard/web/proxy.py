"""``DASHBOARD_AUTH=proxy``: a trusted proxy in front names user and role."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from dashboard.settings import Network
from dashboard.web.limits import parse_address
from dashboard.web.problems import Problem
from dashboard.web.tokens import ROLES, Identity

_MAX_NAME_CHARS: Final = 254  # the longest email address


class ProxyAuth:
    """``DASHBOARD_AUTH=proxy``: headers name user and role. Trusted only from proxy addresses."""

    def __init__(self, header: str, networks: tuple[Network, ...], role_header: str = "") -> None:
        self._header = header
        self._networks = networks
        self._role_header = role_header

    def identify(self, request: Request) -> Identity | None:
        """The user that the proxy names.

        Raises:
            Problem: 403, the proxy names a role that does not exist, or a user in bytes that are
                not UTF-8.
        """
        names = request.headers.getlist(self._header)
        if request.client is None or len(names) != 1:
            return None
        address = parse_address(request.client.host)
        if address is None or not any(address in network for network in self._networks):
            return None
        name = self._name(names[0])
        if not 0 < len(name) <= _MAX_NAME_CHARS:  # truncated, two names could become one user
            return None
        return Identity(name, self._role(request))

    def is_still_authorized(self, request: Request) -> bool:  # noqa: ARG002 - required by the port
        """Always true: the proxy authenticates once per request, before it opens."""
        return True

    def _name(self, value: str) -> str:
        """The name in a header's value, which the server decodes as Latin-1.

        Bytes that are not UTF-8 are not read as Latin-1: then two names could become one user.
        """
        try:
            name = value.strip(" \t").encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            raise Problem(
                403,
                f"the proxy's header {self._header} names a user in bytes that are not UTF-8: "
                "set the proxy to send names in UTF-8 (DASHBOARD_PROXY_HEADER)",
            ) from None
        if name and not (name.isprintable() and name == name.strip()):
            raise Problem(
                403,
                f"the proxy's header {self._header} names the user {name[:40]!r}, which has "
                "characters that cannot be shown (DASHBOARD_PROXY_HEADER)",
            )
        return name

    def _role(self, request: Request) -> str:
        if not self._role_header:
            return "analyst"
        role = ", ".join(request.headers.getlist(self._role_header)).strip().lower()
        if not role:
            return "viewer"  # a proxy that forgets the header must not grant decisions
        if role not in ROLES:
            raise Problem(
                403,
                f"the proxy's header {self._role_header} names the role {role[:40]!r}: it must be "
                f"one of {', '.join(ROLES)} (DASHBOARD_PROXY_ROLE_HEADER)",
            )
        return role
