"""What a worker may be asked, and how questions and answers travel: as JSON of the types that the functions declare."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter

from watchdog.actions import AnyAction
from watchdog.actions.git import commit_refs, head_moves
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, CompletedStep, Finding, NeededFiles, StepState
from watchdog.host import bot_process, child_process, file_state, pid_file
from watchdog.rollback import backup, undo
from watchdog.rollback.checks import LogFile, log_position, read_log
from watchdog.rollback.commands import run_command

if TYPE_CHECKING:
    from watchdog.sources.state_file import StateFile

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


def rehearse(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> None:
    with child_process.variables(given):
        action.rehearse(captured)


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


def lasting_states(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> tuple[StepState, ...]:
    with child_process.variables(given):
        return tuple(action.lasting_states(captured))


def deviations(action: OwnerAction, given: dict[str, str], captured: JsonObject) -> dict[str, str]:
    with child_process.variables(given):
        return dict(action.deviations(captured))


def findings(action: OwnerAction) -> tuple[Finding, ...]:
    return action.findings()


def get_ready(repo: str | None) -> None:
    """Nothing: whoever was asked is held to that repository from then on, and waits for the first step in it."""


def _of_step(action: Action, _: object, captured: JsonObject, *__: object) -> NeededFiles | None:
    return action.needed_files(captured)


def _of_repo(repo: str | None, *_: object) -> NeededFiles:
    return NeededFiles((), repo)


def _of_path(path: Path, *_: object) -> NeededFiles:
    return NeededFiles((path,))


def _of_log(log: LogFile, *_: object) -> NeededFiles:
    return NeededFiles((Path(log.base or "", log.name),))


def _of_state_file(file: StateFile, *_: object) -> NeededFiles:
    return NeededFiles((file.path,))


def _of_spec(spec: Any, *_: object) -> NeededFiles:
    """Of a source: the folder of its files."""
    return NeededFiles((Path(spec.files),))


def _of_file(file: str, *_: object) -> NeededFiles:
    return NeededFiles((Path(file),))


class Function(NamedTuple):
    call: Callable[..., Any]
    needed_files: Callable[..., NeededFiles | None] | None = None
    """Of its arguments; what they name is all that its process can reach then (`session`). None: it is not confined."""


FUNCTIONS: Mapping[str, Function] = {
    f"{function.call.__module__}.{function.call.__qualname__}": function
    for function in (
        Function(capture, lambda action, *_: action.needed_files()),
        Function(preview, _of_step),
        Function(rehearse, _of_step),
        Function(apply, _of_step),
        Function(state, _of_step),
        Function(lasting_states, _of_step),
        Function(deviations, lambda action, *_: action.needed_files()),  # by the plan's names, not by what was noted
        Function(findings, lambda action, *_: action.needed_files()),
        Function(get_ready, _of_repo),
        Function(child_process.terminate_leftover),
        Function(commit_refs.current_commit, _of_repo),
        Function(commit_refs.record_good_commit, _of_repo),
        Function(head_moves.last_head_move, _of_repo),
        Function(commit_refs.redeployed_commits, _of_repo),
        Function(commit_refs.reverts_in_force, _of_repo),
        Function(pid_file.find_file),
        Function(bot_process.find_process),
        Function(run_command),
        Function(file_state.file_state, _of_path),
        Function(file_state.last_writer, _of_path),
        Function(file_state.list_files, NeededFiles),
        Function(file_state.read_part, _of_path),
        Function(backup.read_git_state, _of_repo),
        Function(backup.write_saved_file, _of_path),
        Function(undo.find_commit_conflict, _of_repo),
        Function(log_position, _of_log),
        Function(read_log, _of_log),
    )
}
COMMAND_FUNCTIONS: Mapping[str, frozenset[str]] = {
    "watchdog.offline.init.files": frozenset({"list_folder", "read_ends"}),
    "watchdog.offline.init.sql_drafts": frozenset({"read_tables"}),
    "watchdog.offline.drill.rehearse": frozenset({"make_folder", "rehearse_rows", "remove_folder"}),
    "watchdog.offline.snapshot_target": frozenset(
        {"diff_to", "find_flag_files", "read_repository", "reset_edited_files", "resolve_files", "set_tag"}
    ),
}
"""Module → what commands ask, and the daemon never: it does not carry these about."""
SOURCE_FUNCTIONS: Mapping[str, Mapping[str, Callable[..., NeededFiles | None] | None]] = {
    "watchdog.host.unit_report": {"read_user_units": None},  # it asks a manager over its socket, and starts systemctl
    "watchdog.host.bot_process": {"look_for_bot": None},  # it looks at processes
    "watchdog.sources.state_file": {"read_samples": _of_state_file, "explain_file": _of_state_file},
    "watchdog.sources.program_run": {"run_program": None},
    "watchdog.sources.textfile_folder": {"read_folder": lambda folder, *_: NeededFiles((folder / "*",))},
    "watchdog.sources.jsonl_reader": {"read_jsonl": _of_spec},
    "watchdog.sources.jsonl_explain": {"explain_jsonl": _of_spec},
    "watchdog.sources.log_files": {"read_log_events": _of_file, "explain_log": _of_file},
    "watchdog.sources.sql_file": {"query_sqlite": _of_path, "explain_sqlite": _of_path},
}
"""Module → what sources ask → which files it needs; what no source of the configuration asks is not imported."""


def find_function(name: str) -> Function:
    """The function of that full name. Raises KeyError for one that is in no table."""
    module, _, own_name = name.rpartition(".")
    if own_name in SOURCE_FUNCTIONS.get(module, ()):
        return Function(getattr(importlib.import_module(module), own_name), SOURCE_FUNCTIONS[module][own_name])
    if own_name in COMMAND_FUNCTIONS.get(module, ()):
        return Function(getattr(importlib.import_module(module), own_name))
    return FUNCTIONS[name]


class Question(NamedTuple):
    """As a worker reads it."""

    name: str
    arguments: list[Any]
    repo: str | None
    """The target's."""
    needed_files: NeededFiles | None
    """None: it is not confined."""


def needed_files(function: Callable[..., Any], args: Sequence[object]) -> NeededFiles | None:
    """All that the function gets to see when it is asked that; None: everything that the owner may. Raises ActionError."""
    needed = find_function(_name(function)).needed_files
    try:
        return None if needed is None else needed(*args)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ActionError("what was noted of how it was cannot be true: it is not acted on") from None


def prepare() -> None:
    """Makes ready what the first questions and answers need: milliseconds that need not pass in the night."""
    for name in FUNCTIONS:
        _codecs(name)


def encode(function: Callable[..., Any], args: Sequence[object], repo: str | None) -> JsonObject:
    """A question. `repo`: the target's. Raises KeyError for a function that is in no table."""
    name = _name(function)
    codecs, _ = _codecs(name)
    arguments = [codec.dump(value) for codec, value in zip(codecs, args, strict=False)]
    return {"function": name, "arguments": arguments, "repo": repo}


def input_file(function: Callable[..., Any], args: Sequence[object]) -> Path | None:
    """The file of ours whose bytes go with the question: what is called `input_file`."""
    names = list(inspect.signature(function).parameters)
    found = dict(zip(names, args, strict=False)).get("input_file")
    return found if isinstance(found, Path) else None


def read_question(question: Any) -> Question:
    """Raises KeyError, TypeError, ValueError, ActionError for what is none."""
    name, repo = question["function"], question["repo"]
    codecs, _ = _codecs(name)
    if not (repo is None or isinstance(repo, str)):
        raise TypeError
    arguments = [codec.load(value) for codec, value in zip(codecs, question["arguments"], strict=False)]
    call = find_function(name).call
    inspect.signature(call).bind(*arguments)
    return Question(name, arguments, repo, needed_files(call, arguments))


def answer(question: Question, input_file: Path | None = None) -> Any:
    """What the function says, as JSON. Raises ActionError, or what a mistake of ours raises.

    `input_file`: where the bytes are that came with the question.
    """
    call, arguments = find_function(question.name).call, [*question.arguments]
    if input_file is not None:
        arguments[list(inspect.signature(call).parameters).index("input_file")] = input_file
    _, returned = _codecs(question.name)
    return returned.dump(call(*arguments))


def decode(function: Callable[..., Any], result: Any) -> Any:
    """An answer as the type that the function declares. Raises ActionError for what no such function answers."""
    _, returned = _codecs(_name(function))
    try:
        return returned.load(result)
    except (ValueError, TypeError, RecursionError):
        raise ActionError("the worker answered what no worker answers", may_have_happened=True) from None


class _Codec:
    """One type on its way through JSON. Texts and plain objects go as they are. File names need not be UTF-8."""

    def __init__(self, hint: Any) -> None:
        of, *self._checks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        self._plain = {str: str, JsonObject: dict}.get(of)
        self._adapter = None if self._plain else TypeAdapter(hint)

    def dump(self, value: object) -> Any:
        return value if self._adapter is None else self._adapter.dump_python(value, mode="json")

    def load(self, value: Any) -> Any:
        if self._adapter is None:
            if not isinstance(value, self._plain or object):
                raise TypeError
            for check in self._checks:
                check(value)
            return value
        try:
            text = json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # with a file name that is not UTF-8, which pydantic reads out of no JSON
            return self._adapter.validate_python(value)
        return self._adapter.validate_json(text)


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


@cache
def _codecs(name: str) -> tuple[list[_Codec], _Codec]:
    function = find_function(name).call
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    return [_Codec(hints[parameter]) for parameter in parameters], _Codec(hints["return"])
