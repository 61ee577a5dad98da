"""What the channels' borders have in common: tokens that are never shown, statuses that pass."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from watchdog.core.errors import NotifyError


def load_token(token: SecretStr | None, token_file: str | None, pattern: re.Pattern[str], description: str) -> str:
    """The token itself, read when it is needed. Raises NotifyError, which never quotes what it found.

    A token of the wrong shape must not reach a client library: it would be quoted in the library's own error.
    """
    if token is not None:
        origin, text = "token", token.get_secret_value().strip()
    else:
        path = Path(token_file or "")
        origin = f"token_file {path}"
        try:
            text = path.read_text("utf-8", errors="replace").strip()
        except OSError as fault:
            raise NotifyError(f"{origin}: {fault.strerror} — the daemon's user must be able to read it") from None
    if not pattern.fullmatch(text):
        raise NotifyError(f"{origin} holds no {description} — check that it was copied whole, on one line")
    return text


def validate_token(token: SecretStr | None, pattern: re.Pattern[str], description: str) -> SecretStr | None:
    """A token written in the file itself; ValueError, without it, when it cannot be one."""
    if token is not None and not pattern.fullmatch(token.get_secret_value().strip()):
        raise ValueError(f"this is no {description} — check that it was copied whole")
    return token


def redact(text: str, *secrets: str) -> str:
    """Somebody else's words as one short line without our secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:200] + "…"


def is_transient_status(status: int) -> bool:
    """Whether an HTTP status is about this moment only. Other 4xx say that asking again cannot help."""
    return status in (408, 425, 429) or status >= 500


def parse_retry_after(text: object) -> float | None:
    """A Retry-After; None when it is no number (it may be a date)."""
    match = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]+)?)\s*", str(text))
    return float(match[1]) if match else None


def validate_base_url(url: str, example: str) -> str:
    """A base URL, or ValueError that does not quote it."""
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        well = False
    if not well or re.search(r"[\s{}\x00-\x1f]", url):
        raise ValueError(f"an address reads like {example}")
    return url
