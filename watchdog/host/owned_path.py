"""Files that somebody else may keep: looked at by their owner, since in nobody else's folder is a name looked up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog.core.errors import ActionError
from watchdog.core.executor import owner_executor
from watchdog.core.target import Target
from watchdog.host.account import account_by_uid, own_account


def call_owner(folder: Path, user: str | None, function: Callable[..., Any], *args: Any) -> Any:
    """What `function` says when the owner of a folder calls it: this very process where that is root or us.

    `user`: by name, as whom instead. `function`: one that `worker/functions.py` knows. Raises ActionError; also
    FileNotFoundError, where there is no such folder.
    """
    if user is None:
        try:
            if folder.stat().st_uid in (0, os.geteuid()):
                return function(*args)
        except NotADirectoryError as problem:
            raise FileNotFoundError(*problem.args) from None
        except PermissionError:
            raise ActionError(f"{folder} cannot be seen by {own_account().name}") from None
    whose = Target(repo=str(folder)) if user is None or user.isdecimal() else Target(run_as=user)
    return owner_executor.get().call(whose, function, *args)


def owner_of(folder: Path | None, user: str | None) -> Target:
    """As whom a program is run that an entry names, as `Executor.call` is told it: `user`, by name or number, else the owner of
    `folder`; and we, where that is root, or neither is said. Raises ActionError."""
    if user is not None:
        return Target(run_as=account_by_uid(int(user)).name if user.isdecimal() else user)
    if folder is None:
        return Target()
    try:
        owner = folder.stat().st_uid
    except PermissionError:
        raise ActionError(f"whose {folder} is cannot be seen by {own_account().name} — say user") from None
    except OSError as problem:
        raise ActionError(f"{folder}: {problem.strerror} — mend cwd, or make the folder") from None
    return Target() if owner in (0, os.geteuid()) else Target(repo=str(folder))
