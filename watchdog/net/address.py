"""Addresses: what one must look like, and how it is shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_HOST = re.compile(r"[\w.~%:-]+")
"""Names, also of other alphabets, and addresses of IPv4 and IPv6."""


def validate_url(url: str, example: str, *, credentials_cure: str | None = None) -> str:
    """The address as it is. Raises ValueError, which never quotes it: a secret may stand in it.

    `example`: how such an address reads. `credentials_cure`: where name and password belong; None where they may stand
    in the address.
    """
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        well = False
    if not well or not url.isprintable() or " " in url or "\\" in parts.netloc:
        raise ValueError(f"an address reads like {example}, its port from 1 to 65535")
    if credentials_cure is not None and parts.username is not None:
        raise ValueError(f"an address is shown in logs and in the journal — {credentials_cure}")
    return url


def host_and_port(host: str, port: int) -> str:
    """``127.0.0.1:80``, ``[::1]:80``"""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def redact_url(url: str) -> str:
    """The address without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
