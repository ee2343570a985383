"""Names in settings that Kafka or S3 would refuse later, in the words of their libraries."""

from __future__ import annotations

import re
from typing import Final

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
"""``Topic.validate`` of Kafka."""

_BUCKET: Final = re.compile(r"[a-zA-Z0-9._-]{3,255}")
"""AWS allows less for new buckets; old buckets and other servers have such names too."""

_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_HOST: Final = re.compile(r"[^\s/@?#]+")


def check_topic(name: str) -> str:
    """``name``, if Kafka allows a topic of that name.

    Raises:
        ValueError: it does not.
    """
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise ValueError(
            "not a topic name: only a-z, A-Z, digits, '.', '_' and '-' are allowed, "
            "at most 249 of them, and not '.' or '..' alone"
        )
    return name


def check_bucket(name: str) -> str:
    """``name``, if a bucket can have that name.

    Raises:
        ValueError: it cannot.
    """
    if not _BUCKET.fullmatch(name):
        shown = f"{name!r} is" if name else "the bucket is missing, and an empty name is"
        raise ValueError(
            f"{shown} not a bucket name: only a-z, A-Z, digits, '.', '_' and '-' "
            "are allowed, 3 to 255 of them"
        )
    return name


def check_server(server: str) -> str:
    """``host:port``, also as ``PROTOCOL://host:port`` with one of Kafka's protocols.

    Raises:
        ValueError: it is something else, a web address for example.
    """
    protocol, separator, address = server.rpartition("://")
    host, _, port = address.rpartition(":")
    if separator and protocol.upper() not in _PROTOCOLS:
        right = address.partition("/")[0] or "host:port"
        raise ValueError(
            f"{server!r} is not host:port: Kafka has no {protocol}:// addresses, write {right}"
        )
    if not _HOST.fullmatch(host) or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{server!r} is not host:port")
    if not 0 < int(port[:6]) < 65536:
        raise ValueError(f"{server!r} is not host:port: ports are 1 to 65535")
    return server
