"""The journal of systemd's units, through journalctl."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.core.text import shorten
from watchdog.host import child_process
from watchdog.host.account import account_by_name

_ENV = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
_FORMAT = ("--output=json", "--output-fields=MESSAGE", "--no-pager", "--quiet")
_ONE_ENTRY = 64 * 1_024
"""Bytes that one takes at most without --all."""
_CURSOR_REFUSED = "seek to cursor"
_NOT_ALLOWED = "as root: usermod -aG systemd-journal USER, with the watchdog's user; then restart it"


class JournalPosition(NamedTuple):
    """What was read last."""

    cursor: str | None
    """Of the entry; None: nothing was, and what comes after `usec` is new."""
    usec: int
    """When the journal took that entry down, in microseconds since the epoch."""


class JournalEntry(NamedTuple):
    position: JournalPosition
    message: bytes | None
    """None: none, or one that is too long to be read."""

    @property
    def t(self) -> Millis:
        return self.position.usec // 1_000


class JournalPart(NamedTuple):
    entries: list[JournalEntry]
    """Oldest first."""
    more: bool
    """There may be some after them."""


def unit_matches(unit: str, user: str | None) -> tuple[str, ...]:
    """Words of journalctl's for the messages of a unit, and systemd's about it. `user`: whose own manager has that unit.

    Raises ActionError when there is no such user.
    """
    if user is None:
        return (f"--unit={unit}",)
    try:
        uid = int(user) if user.isdecimal() else account_by_name(user).uid
    except ActionError:
        raise ActionError(f"there is no user {user} on this machine — mend user") from None
    # --user-unit means whoever asks
    return f"_SYSTEMD_USER_UNIT={unit}", f"_UID={uid}", "+", f"USER_UNIT={unit}", f"_UID={uid}"


def newest_position(matches: Sequence[str], *, deadline: float) -> JournalPosition | None:
    """Of the newest entry; None: there is none. Blocks until the monotonic `deadline`. Raises ActionError with the cure."""
    found = _read(["--lines=1"], matches, _ONE_ENTRY, deadline).entries
    return found[-1].position if found else None


def newest_entries(matches: Sequence[str], number: int, *, max_bytes: int, deadline: float) -> JournalPart:
    """At most so many. Blocks until the monotonic `deadline`. Raises ActionError with the cure."""
    return _read(["--all", f"--lines={number}"], matches, max_bytes, deadline)


def entries_after(position: JournalPosition, matches: Sequence[str], *, max_bytes: int, deadline: float) -> JournalPart:
    """Those that came after that one; where it is there no more, from the oldest on that came later. Blocks.

    `max_bytes`: of what journalctl writes. `deadline`: monotonic. Raises ActionError with the cure.
    """
    since = f"--since=@{position.usec // 1_000_000}.{position.usec % 1_000_000:06}"
    # Not --after-cursor: where that entry is there no more, it passes over another one in its stead.
    place = since if position.cursor is None else f"--cursor={position.cursor}"

    def read_on(*options: str) -> JournalPart:
        part = _read([*options, place], matches, max_bytes, deadline)
        is_new = _is_later if place == since else _is_another
        return JournalPart([entry for entry in part.entries if is_new(entry.position, position)], part.more)

    try:
        part = read_on("--all")
    except _CursorRefusedError:
        place = since
        part = read_on("--all")
    if part.more and not part.entries:  # the first message is longer than all that is read: it is left out
        part = read_on()
    return part


def _is_later(found: JournalPosition, last: JournalPosition) -> bool:
    return found.usec > last.usec


def _is_another(found: JournalPosition, last: JournalPosition) -> bool:
    return found.cursor != last.cursor


class _CursorRefusedError(ActionError):
    """It is of no journal that this one comes from."""


def _read(options: Sequence[str], matches: Sequence[str], max_bytes: int, deadline: float) -> JournalPart:
    argv = ["journalctl", *_FORMAT, *options, *matches]
    left = max(deadline - time.monotonic(), 0.001) * 1_000
    try:
        ran = child_process.run(argv, env=_ENV, timeout_ms=left, output_limit=max_bytes, beginning=True)
    except ActionError as error:
        if error.may_have_happened:
            raise ActionError(f"journalctl said nothing within {left / 1_000:.1f} s — raise timeout") from None
        raise ActionError(f"{shorten(str(error), 200)}: the journal is systemd's, name files instead") from None
    if ran.exit_code != 0 and not ran.truncated:
        said = child_process.last_lines(ran.stderr, lines=2) or "it said nothing"
        if _CURSOR_REFUSED in said:
            raise _CursorRefusedError(said)
        cure = _NOT_ALLOWED if "insufficient permissions" in said else "does journalctl answer a person?"
        raise ActionError(f"journalctl ended with {ran.exit_code}: {said} — {cure}")
    *lines, _ = ran.stdout_bytes.split(b"\n")
    return JournalPart([_to_entry(line) for line in lines if line.strip()], ran.truncated)


def _to_entry(line: bytes) -> JournalEntry:
    try:
        said = json.loads(line)
        cursor, usec = said["__CURSOR"], int(said["__REALTIME_TIMESTAMP"])
        if not isinstance(cursor, str):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ActionError(
            "journalctl answered what it never answers — is another program first in the watchdog's PATH?"
        ) from None
    return JournalEntry(JournalPosition(cursor, usec), _to_message(said.get("MESSAGE")))


def _to_message(said: Any) -> bytes | None:
    """A text; numbers where it is no UTF-8, or has control characters; several of either; null where it is too long."""
    if isinstance(said, str):
        return said.encode("utf-8", "replace")
    if isinstance(said, list):
        if all(type(byte) is int and 0 <= byte < 256 for byte in said):
            return bytes(said)
        parts = [_to_message(each) for each in said if isinstance(each, str | list)]
        return b"\n".join(part for part in parts if part is not None)
    return None
