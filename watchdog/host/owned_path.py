"""Files that somebody else may keep: looked at by their owner, since in nobody else's folder is a name looked up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog.core.executor import owner_executor
from watchdog.core.target import Target
from watchdog.host.account import account_by_uid, folder_account


def call_owner(folder: Path, user: str | None, function: Callable[..., Any], *args: Any) -> Any:
    """What `function` says when the owner of a folder calls it: this very process where that is root or us.

    `user`: as whom instead. `function`: one that `worker/functions.py` knows. Raises ActionError; also FileNotFoundError,
    where there is no such folder.
    """
    whose = owner_of(folder, user)
    return function(*args) if whose == Target() else owner_executor.get().call(whose, function, *args)


def owner_of(folder: Path | None, user: str | None) -> Target:
    """As whom something is done for a source, as `Executor.call` is told it: `user`, by name or number, else the owner of
    `folder`; and we, where that is root or us, or neither is said.

    Raises ActionError, also when somebody else decides what stands at that path, and so whose it is: with a link to one of
    root's folders there, root itself would read what the bot's user may not. FileNotFoundError: there is no such folder.
    """
    if user is not None:
        return Target(run_as=account_by_uid(int(user)).name if user.isdecimal() else user)
    if folder is None:
        return Target()
    try:
        owner = folder_account(folder, say="user")
    except NotADirectoryError as problem:
        raise FileNotFoundError(*problem.args) from None
    return Target() if owner.uid in (0, os.geteuid()) else Target(repo=str(folder))
