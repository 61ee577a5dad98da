"""Whom the pages are for: not for other web sites, which may have a browser on this machine ask us.

A name under which we do not go may be one of theirs that now leads to us (DNS rebinding); what a browser says of the page
that asks (Sec-Fetch-Site, Origin) tells the rest. Programs send neither.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""With every answer."""


def content_security_policy(style_hash: str | None = None) -> str:
    """Nothing is loaded and nothing is run; of styles the one with this hash."""
    style = f"style-src '{style_hash}'; " if style_hash else ""
    return f"default-src 'none'; {style}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def own_names(listen: str, hosts: Collection[str]) -> frozenset[str]:
    """Names under which we go: where we listen, what this machine is called, and what the configuration adds."""
    return frozenset(name.lower().rstrip(".") for name in (listen, socket.gethostname(), "localhost", *hosts))


def refuse_host(authority: str, names: Collection[str]) -> tuple[int, str] | None:
    """Status and reason where this is no name of ours; `authority`: what the Host header says."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return 400, "the Host header is no name"
    name = found[1].lower().rstrip(".")
    if name in names or name.endswith(".localhost") or _is_address(name):
        return None
    return (
        421,
        f"this watchdog does not go by the name {name} - if it should, say so in watchdog.yaml: web: {{hosts: [{name}]}}",
    )


def refuse_other_site(headers: Mapping[str, str], path: str, authority: str) -> tuple[int, str] | None:
    """Status and reason where the page of another site has a browser ask; a link to `/` may be followed."""
    site = headers.get("Sec-Fetch-Site", "none")
    origin = headers.get("Origin")
    follows_link = path == "/" and headers.get("Sec-Fetch-Dest") == "document" and origin is None
    if site not in ("none", "same-origin") and not follows_link:
        return 403, "these pages are not for other web sites"
    if origin is not None and origin.lower().partition("://")[2] != authority.lower():
        return 403, "these pages are not for other web sites"
    return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
