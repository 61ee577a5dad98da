"""JSON that somebody else wrote: whole and unambiguous, or an error that quotes nothing of it."""

from __future__ import annotations

import json
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.sources.json_text import load_json


class _RepeatedKeyError(ValueError):
    pass


def parse_document(content: bytes) -> Any:
    """What it says. NaN and the infinities, which JSON does not know and Python writes, are null. Raises SourceError.

    A key that stands twice in an object is refused: readers differ in which of the two counts.
    """
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as fault:
        raise SourceError(f"byte {fault.start} is not UTF-8 — is this the JSON document?") from None
    if not text.strip():
        raise SourceError("it is empty — a JSON document is expected")
    try:
        return load_json(text, _to_object, _null)
    except _RepeatedKeyError:
        what, cure = "a key stands twice in an object", "which of them holds is unknown: mend what writes it"
    except json.JSONDecodeError as fault:
        what, cure = f"no JSON at line {fault.lineno}, column {fault.colno}: {fault.msg}", "is this the JSON document?"
    except RecursionError:
        what, cure = "it is nested too deeply", "is this the JSON document?"
    except ValueError:  # of so many digits that Python does not convert them
        what, cure = "it holds a number that is too long", "is this the JSON document?"
    raise SourceError(f"{what} — {cure}")


def _null(_: str) -> None:
    return None


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedKeyError
    return made
