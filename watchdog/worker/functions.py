"""What a worker may be asked, and how questions and answers travel: as JSON of the types that the functions declare."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

from pydantic import Field, TypeAdapter

from watchdog.actions import AnyAction
from watchdog.actions.git import commit_refs
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, CompletedStep, StepState
from watchdog.host import child_process, file_state, pid_file
from watchdog.rollback import backup, undo
from watchdog.rollback.checks import log_position, read_log
from watchdog.rollback.commands import run_command

if TYPE_CHECKING:
    OwnerAction = Action
else:
    OwnerAction = Annotated[AnyAction | undo.UndoStep, Field(discriminator="do")]


class Completed(NamedTuple):
    """`core.protocols.CompletedStep` on its way to a worker."""

    action: OwnerAction
    before: JsonObject
    in_force: bool


def capture(action: OwnerAction, given: dict[str, str], completed: tuple[Completed, ...]) -> JsonObject:
    with _environment(given):
        return action.capture([CompletedStep(*step) for step in completed])


def preview(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> str:
    with _environment(given):
        return action.preview(captured)


def apply(
    action: OwnerAction,
    given: dict[str, str],
    captured: JsonObject,
    key: str,
    incident: JsonObject | None,
    input_file: Path | None,
) -> str:
    if input_file is not None:
        action = action.with_input_file(input_file)
    with _environment(given):
        return action.apply(captured, key, incident)


def state(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> StepState:
    with _environment(given):
        return action.state(captured)


@contextlib.contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """With what the watchdog's environment holds for this action's programs (`inherit`), and no other."""
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    f"{function.__module__}.{function.__qualname__}": function
    for function in (
        capture,
        preview,
        apply,
        state,
        child_process.terminate_leftover,
        commit_refs.current_commit,
        commit_refs.record_good_commit,
        commit_refs.redeployed_commits,
        pid_file.find_file,
        pid_file.find_process,
        run_command,
        file_state.file_state,
        file_state.list_files,
        file_state.read_part,
        backup.read_git_state,
        undo.find_commit_conflict,
        log_position,
        read_log,
    )
}


def encode(function: Callable[..., Any], args: Sequence[object]) -> JsonObject:
    """A question. Raises KeyError for a function that is not in the table."""
    name = f"{function.__module__}.{function.__qualname__}"
    codecs, _ = _codecs(name)
    return {"function": name, "arguments": [codec.dump(value) for codec, value in zip(codecs, args, strict=False)]}


def input_file(function: Callable[..., Any], args: Sequence[object]) -> Path | None:
    """The file of ours whose bytes go with the question: what is called `input_file`."""
    names = list(inspect.signature(function).parameters)
    found = dict(zip(names, args, strict=False)).get("input_file")
    return found if isinstance(found, Path) else None


def answer(question: Any, input_file: Path | None = None) -> Any:
    """What the function says, as JSON. Raises ActionError, or what a mistake of ours raises.

    `input_file`: where the bytes are that came with the question.
    """
    name = question["function"]
    codecs, returned = _codecs(name)
    arguments = [codec.load(value) for codec, value in zip(codecs, question["arguments"], strict=False)]
    if input_file is not None:
        arguments[list(inspect.signature(FUNCTIONS[name]).parameters).index("input_file")] = input_file
    return returned.dump(FUNCTIONS[name](*arguments))


def decode(function: Callable[..., Any], result: Any) -> Any:
    """An answer as the type that the function declares. Raises ActionError for what no such function answers."""
    _, returned = _codecs(f"{function.__module__}.{function.__qualname__}")
    try:
        return returned.load(result)
    except (ValueError, TypeError, RecursionError):
        raise ActionError("the worker answered what no worker answers", may_have_happened=True) from None


class _Codec:
    """One type on its way through JSON. Texts and plain objects go as they are: file names need not be UTF-8."""

    def __init__(self, hint: Any) -> None:
        self._plain = {str: str, JsonObject: dict}.get(hint)
        self._adapter = None if self._plain else TypeAdapter(hint)

    def dump(self, value: object) -> Any:
        return value if self._adapter is None else self._adapter.dump_json(value).decode()

    def load(self, value: Any) -> Any:
        if self._adapter is not None:
            return self._adapter.validate_json(value)
        if not isinstance(value, self._plain or object):
            raise TypeError
        return value


@cache
def _codecs(name: str) -> tuple[list[_Codec], _Codec]:
    function = FUNCTIONS[name]
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    return [_Codec(hints[parameter]) for parameter in parameters], _Codec(hints["return"])
