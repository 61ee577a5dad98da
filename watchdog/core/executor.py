"""Who carries out what is done to a target: see `Executor`."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeVar

from watchdog.core.protocols import Action
from watchdog.core.target import Target

P = ParamSpec("P")
T = TypeVar("T")

call_deadline: ContextVar[float | None] = ContextVar("call_deadline", default=None)
"""Monotonic seconds by which what is asked in this context must have answered; None: nobody waits for it."""


class Executor(Protocol):
    """Does to a target what is asked, with the rights of its owner and no others. Blocks; from any thread."""

    def act_as_owner(self, action: Action, target: Target) -> Action:
        """The same action, already bound, whose verbs are carried out by the target's owner.

        Its verbs raise ActionError also when nobody may act as the owner, or when there was no answer by `call_deadline`.
        """
        ...

    def call(self, target: Target, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` says when the target's owner calls it. It raises ActionError only, and must be one that the
        executor knows (`worker/functions.py`); keyword arguments are not carried over."""
        ...


CallOwner = Callable[..., Any]
"""(function, *args) → what it says when the owner of one target calls it: see `Executor.call`."""


def call_directly(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """For whoever is the owner."""
    return function(*args, **kwargs)


class DirectExecutor:
    """In this very process: for whoever is the owner, as a person at the command line."""

    def act_as_owner(self, action: Action, target: Target) -> Action:  # noqa: ARG002
        return action

    def call(self, target: Target, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: ARG002
        return function(*args, **kwargs)


owner_executor: ContextVar[Executor] = ContextVar("owner_executor", default=DirectExecutor())  # noqa: B039 - it holds nothing
"""Who reads for a source what lies in a bot's folder. The daemon sets it for all of its reads."""
