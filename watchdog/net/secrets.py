"""Secrets in files: where one lies, how it is read, and that it is never shown."""

from __future__ import annotations

import base64
import os
import re
import stat
import string
from collections.abc import Mapping
from pathlib import Path

from watchdog.core.errors import WatchdogError
from watchdog.host.trust import find_untrusted

MAX_BYTES = 64 << 10
"""Bytes of a secret, or of a file of headers; more is something else."""
TOKEN_PATTERN = re.compile(r"[!-~]+")
"""What may stand in a header after `Bearer`."""


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


_PIECE = 8
"""Characters of a secret in a row that are not shown; a shorter one is not shown as a whole."""


_MAX_LOOKED_THROUGH = 10_000
"""Characters of somebody's words, of which a line is shown."""


class SecretError(WatchdogError):
    """A secret that cannot be used. Names the file, and never quotes what is in it."""


def find_credential(file: str, environ: Mapping[str, str]) -> Path | None:
    """The file of that name among systemd's credentials; None when there is none, or `file` is a full path."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not Path(folder).is_absolute() or Path(file).is_absolute():
        return None
    path = Path(folder, file)
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None  # too long a name, or one with odd characters: whoever opens it says so


def ensure_trusted(file: str, key: str) -> None:
    """That nobody but root and we could change a file, or the way to it; then nobody can between this look and the reading.
    `key`: the setting that names it. Raises SecretError."""
    try:
        for wrong in find_untrusted([Path(file)], (os.geteuid(),), must_exist=True):
            why = f"is not read: {wrong.describe(with_path=True)}"
            raise SecretError(f"{key} {file} {why} — it is for root and the daemon's user alone: {wrong.cure}")
    except (OSError, ValueError) as fault:
        raise _unreadable(file, key, fault) from None


def _unreadable(file: str, key: str, fault: OSError | ValueError) -> SecretError:
    why = "it is no text — check that it was copied whole"
    if isinstance(fault, OSError):
        why = f"{fault.strerror} — the daemon's user must be able to read it"
    return SecretError(f"{key} {file} cannot be read: {why}")


def read_secret(file: str, key: str) -> str:
    """The text of a file. `key`: the setting that names it. Raises SecretError.

    Whoever could put a link there would choose which of our files is sent away, and a fifo would hold us up.
    """
    ensure_trusted(file, key)
    try:
        # Opening a fifo, or a device, must not wait for whoever is at its other end.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123 - flags
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise SecretError(f"{key} {file} cannot be read: it is no regular file — name the file itself")
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SecretError(
                f"{key} {file} cannot be read: it is longer than {MAX_BYTES >> 10} KiB — name another file"
            )
        return content.decode("utf-8")
    except (OSError, ValueError) as fault:
        raise _unreadable(file, key, fault) from None


def read_token(
    file: str, key: str = "token_file", pattern: re.Pattern[str] = TOKEN_PATTERN, description: str = "token"
) -> str:
    """The token that stands in a file alone, read when it is needed. Raises SecretError.

    A token of the wrong shape must not reach a client library: it would be quoted in the library's own error.
    """
    token = read_secret(file, key).strip()
    if not pattern.fullmatch(token):
        raise SecretError(f"{key} {file} holds no {description} — check that it was copied whole, on one line")
    return token


def basic_authorization(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def password_of(authorization: str) -> str:
    """What `basic_authorization` has wrapped up; empty where it is none of it."""
    scheme, _, wrapped = authorization.partition(" ")
    try:
        return base64.b64decode(wrapped).decode().partition(":")[2] if scheme == "Basic" else ""
    except ValueError:
        return ""


def hide(text: str, *secrets: str) -> str:
    """Without our secrets, and without any longer piece of one: what is quoted may have been cut short."""
    for secret in secrets:
        text = _hide_one(text, secret)
    return text


def _hide_one(text: str, secret: str) -> str:
    size = min(len(secret), _PIECE)
    if not size:
        return text
    lowered, secret = text.translate(_LOWER), secret.translate(_LOWER)  # as a content type is told
    pieces = {secret[start : start + size] for start in range(len(secret) - size + 1)}
    shown, end = list[str](), 0  # up to where it is hidden
    for place, character in enumerate(text):
        if lowered[place : place + size] in pieces:
            if shown[-1:] != ["***"]:
                shown.append("***")
            end = place + size
        if place >= end:
            shown.append(character)
    return "".join(shown)


def redact(text: str, *secrets: str) -> str:
    """Somebody else's words as one short line without our secrets."""
    text = hide(text[:_MAX_LOOKED_THROUGH], *secrets)
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:200] + "…"
