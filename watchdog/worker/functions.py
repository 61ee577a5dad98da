"""What a worker may be asked, and how questions and answers travel: as JSON of the types that the functions declare."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
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
    with child_process.variables(given):
        return action.capture([CompletedStep(*step) for step in completed])


def preview(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> str:
    with child_process.variables(given):
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
    with child_process.variables(given):
        return action.apply(captured, key, incident)


def state(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> StepState:
    with child_process.variables(given):
        return action.state(captured)


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
        commit_refs.reverts_in_force,
        pid_file.find_file,
        pid_file.find_process,
        run_command,
        file_state.file_state,
        file_state.list_files,
        file_state.read_part,
        backup.read_git_state,
        backup.write_saved_file,
        undo.find_commit_conflict,
        log_position,
        read_log,
    )
}
COMMAND_FUNCTIONS: Mapping[str, frozenset[str]] = {
    "watchdog.offline.drill.rehearse": frozenset({"make_folder", "rehearse_rows", "remove_folder"}),
    "watchdog.offline.snapshot_target": frozenset(
        {"diff_to", "find_flag_files", "read_repository", "reset_edited_files", "resolve_files", "set_tag"}
    ),
}
"""Module → what commands ask, and the daemon never: it does not carry these about."""


def find_function(name: str) -> Callable[..., Any]:
    """The function of that full name. Raises KeyError for one that is in no table."""
    module, _, own_name = name.rpartition(".")
    if own_name in COMMAND_FUNCTIONS.get(module, ()):
        function: Callable[..., Any] = getattr(importlib.import_module(module), own_name)
        return function
    return FUNCTIONS[name]


def encode(function: Callable[..., Any], args: Sequence[object]) -> JsonObject:
    """A question. Raises KeyError for a function that is in no table."""
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
    function = find_function(name)
    arguments = [codec.load(value) for codec, value in zip(codecs, question["arguments"], strict=False)]
    if input_file is not None:
        arguments[list(inspect.signature(function).parameters).index("input_file")] = input_file
    return returned.dump(function(*arguments))


def decode(function: Callable[..., Any], result: Any) -> Any:
    """An answer as the type that the function declares. Raises ActionError for what no such function answers."""
    _, returned = _codecs(f"{function.__module__}.{function.__qualname__}")
    try:
        return returned.load(result)
    except (ValueError, TypeError, RecursionError):
        raise ActionError("the worker answered what no worker answers", may_have_happened=True) from None


class _Codec:
    """One type on its way through JSON. Texts and plain objects go as they are. File names need not be UTF-8."""

    def __init__(self, hint: Any) -> None:
        self._plain = {str: str, JsonObject: dict}.get(hint)
        self._adapter = None if self._plain else TypeAdapter(hint)

    def dump(self, value: object) -> Any:
        return value if self._adapter is None else self._adapter.dump_python(value, mode="json")

    def load(self, value: Any) -> Any:
        if self._adapter is None:
            if not isinstance(value, self._plain or object):
                raise TypeError
            return value
        try:
            text = json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # with a file name that is not UTF-8, which pydantic reads out of no JSON
            return self._adapter.validate_python(value)
        return self._adapter.validate_json(text)


@cache
def _codecs(name: str) -> tuple[list[_Codec], _Codec]:
    function = find_function(name)
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    return [_Codec(hints[parameter]) for parameter in parameters], _Codec(hints["return"])
