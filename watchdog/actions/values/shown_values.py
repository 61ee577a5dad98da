"""Values as they are kept and told: on one line, and no secret."""

from __future__ import annotations

import hashlib

from watchdog.actions.values.located_value import LocatedValue, Value
from watchdog.actions.values.value_path import key_names
from watchdog.core import redaction

_HIDDEN = f"{redaction.BLOT} scrypt:"


def show_note(name: str, note: str) -> str:
    """What `note_values` has noted, for people; an older version of ours has noted secrets, too."""
    return redaction.BLOT if note.startswith(_HIDDEN) else redaction.blot_value(key_names(name), note)


def hide_note(name: str, note: str) -> str:
    """What stands for a secret where it is kept."""
    return note if note.startswith(_HIDDEN) else _digest(name, note)


def show_value(name: str, value: Value) -> str:
    """A value as a plan says it, for people: ``false``, ``'x'``, ``[1, 2]``; no secret."""
    return redaction.blot_value(key_names(name), _show(value))


def _show(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_show, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, str) else str(value)


def note(name: str, found: LocatedValue) -> str:
    """What is found under a name, in a line that may be kept: equal while the value is."""
    written = found.text
    if "\n" in written:
        written = _show(found.value)
    if redaction.blot_value(key_names(name), written) == written:
        return written
    return _digest(name, found.text)


def _digest(name: str, written: str) -> str:
    """The same for the same value under the same name, and for nothing else. It takes its time, for whoever guesses, too."""
    secret, salt = (text.encode("utf-8", "surrogatepass") for text in (written, name))
    return f"{_HIDDEN}{hashlib.scrypt(secret, salt=salt, n=1 << 11, r=8, p=1, dklen=16).hex()}"
