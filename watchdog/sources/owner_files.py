"""What a source asks of the owner of a folder, and why it was not told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog.core.errors import ActionError, SourceError
from watchdog.host.owned_path import call_owner


def ask_owner(folder: Path, user: str | None, function: Callable[..., Any], *args: Any, missing: str, cure: str) -> Any:
    """What `function` says when the owner of a folder calls it, see `host.owned_path.call_owner`.

    `missing`: said when there is no such folder. `cure`: said of an error that names none. Raises SourceError.
    """
    try:
        return call_owner(folder, user, function, *args)
    except FileNotFoundError:
        raise SourceError(missing) from None
    except ActionError as error:
        raise to_source_error(error, cure) from None


def to_source_error(error: ActionError, cure: str) -> SourceError:
    """In one line, with a cure: its own, or that one."""
    text = " ".join(str(error).split())
    return SourceError(text if " — " in text else f"{text} — {cure}")
