"""Flags: single values in a configuration file of the bot."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchdog.actions.values import editor
from watchdog.actions.values.document_change import describe_change
from watchdog.actions.values.editor import get_values, set_values
from watchdog.actions.values.located_value import Value
from watchdog.actions.values.shown_values import hide_note, show_note, show_value
from watchdog.actions.values.value_path import key_names
from watchdog.core import redaction
from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError, MissingError, UnreadableError
from watchdog.core.model import Duration, JsonObject, RepoPath
from watchdog.core.protocols import (
    CompletedStep,
    Copies,
    Finding,
    LastingChange,
    NeededFiles,
    StepState,
)
from watchdog.core.target import Target
from watchdog.core.text import shorten
from watchdog.host import atomic_file, folder
from watchdog.host.file_metadata import describe_lost
from watchdog.host.write_trial import try_replacing

_GROWTH = 256
"""Bytes by which a file grows at most when its values are set, as a rule."""
_MAX_SHOWN = 200
"""Characters of a value in a message."""

__all__ = ["FlagAction", "get_values", "set_values"]


class FlagAction(ActionModel):
    """Sets values in a Python, YAML, JSON, TOML, INI or .env file; the rest stays as it is."""

    persistent: ClassVar[bool] = True

    do: Literal["flag"]
    file: RepoPath
    """The file, relative to the target's repo; its ending says its kind."""
    set: Annotated[dict[str, Value], Field(min_length=1)]
    """What should be so: name and value, or a list of values. A dotted name is a path of keys: features.hmm_v2. A list's member
    is named by its place, pairlists[0].n, or by one of its keys, pairlists[method=VolumePairList].n."""
    repo: RepoPath | None = None
    """Folder that `file` is relative to, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """Reading and writing one local file does not wait for anything: for symmetry with the other actions."""

    @field_validator("file")
    @classmethod
    def _validate_format(cls, file: str) -> str:
        editor.file_format(file)
        return file

    @model_validator(mode="after")
    def _validate_names(self) -> FlagAction:
        editor.validate_values(self.file, self.set)
        for name, value in self.set.items():
            texts = [each for each in (value if isinstance(value, tuple) else [value]) if isinstance(each, str)]
            if redaction.is_secret_name(key_names(name)) and any(map(redaction.looks_secret, texts)):
                raise ValueError(
                    f"{name} looks like a secret, and the plan's text stands in the journal — use do: restore"
                )
        return self

    def bind(self, target: Target) -> Self:
        return self.model_copy(update={"repo": atomic_file.resolve_base(target.repo, self.repo, self.file)})

    def describe(self) -> str:
        return f"set {format_assignments(self.set)} in {self.file}"

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles:
        return NeededFiles((Path(captured["file"]) if captured else Path(self.repo or "", self.file),))

    def value_edits(self) -> Mapping[Path, Mapping[str, Value]]:
        return {Path(self.repo or "", self.file).resolve(): self.set}

    def findings(self) -> tuple[Finding, ...]:
        """Of every name: that it is not set there, or cannot be set to that value."""
        try:
            content = atomic_file.read_bytes(path := self._resolved_path())
            atomic_file.ensure_replaceable(path)
        except MissingError as error:
            return (Finding.of("missing", ("file",), error),)
        except UnreadableError as error:
            return (Finding.of("unreadable", ("file",), error),)
        except ActionError as error:
            return (Finding.of("unfit", ("file",), error),)
        found = []
        for name, value in self.set.items():
            try:
                editor.ensure_same_types(content, self.file, {name: value})
                set_values(content, self.file, {name: value})
            except ActionError as error:
                is_there = not isinstance(error, MissingError)
                found.append(Finding.of("unfit" if is_there else "missing", ("set", name), error))
        return tuple(found)

    def redirect(self, copies: Copies) -> Self:
        copy = copies.file(Path(self.repo or "/", self.file))
        return self.model_copy(update={"repo": None, "file": str(copy)})

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002 - other people's edits on other lines may stay
        """``{"file": real path, "was": {name: what `note_values` notes}, "changed": names that are other, "sha": SHA-256}``."""
        path = self._resolved_path()
        content = atomic_file.read_bytes(path)
        was = editor.note_values(content, self.file, self.set)
        editor.ensure_same_types(content, self.file, self.set)
        set_values(content, self.file, self.set)  # what cannot be done is said before anything is
        changed = [name for name, value in self.set.items() if not editor.has_values(content, self.file, {name: value})]
        return {"file": str(path), "was": was, "changed": changed, "sha": hashlib.sha256(content).hexdigest()}

    def rehearse(self, captured: JsonObject) -> None:
        path, size = Path(captured["file"]), 0
        with contextlib.suppress(MissingError):  # an earlier step brings it
            size = len(atomic_file.read_bytes(path))
            atomic_file.ensure_replaceable(path)
        try_replacing(path, size + _GROWTH)

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return (Path(captured["file"]),)

    def preview(self, captured: JsonObject) -> str:
        path = Path(captured["file"])
        content = atomic_file.read_bytes(path)
        return describe_change(content, set_values(content, self.file, self.set), str(path), self.file)

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        """One rename. Refuses when a value is neither what it was nor what it should be."""
        path = Path(captured["file"])
        content = atomic_file.read_bytes(path)
        if editor.has_values(content, self.file, self.set):
            return f"{format_assignments(self.set)} in {self.file}"
        if changed := [name for name, was in captured["was"].items() if not self._is_as_noted(content, name, was)]:
            names = ", ".join(changed)
            raise ActionError(f"{names} in {self.file} was changed by somebody else in the meantime — look at it")
        lost = atomic_file.replace_file(path, set_values(content, self.file, self.set), content)
        was = ", ".join(f"{name} was {_show_note(name, text)}" for name, text in captured["was"].items())
        return f"{format_assignments(self.set)} in {self.file} ({was}){describe_lost(lost)}"

    def state(self, captured: JsonObject) -> StepState:
        path = Path(captured["file"])
        try:
            content = atomic_file.read_bytes(path)
        except ActionError:
            return "unknown"
        try:
            if editor.has_values(content, self.file, self.set):
                return "after"
            same = all(self._is_as_noted(content, name, was) for name, was in captured["was"].items())
            return "before" if same else "other"
        except ActionError:
            return "other"  # the file is there, and what we noted is not in it any more

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:
        found = []
        for name in self._changed_names(captured):
            value, was = self.set[name], None if captured is None else captured["was"][name]
            shown = None if was is None else _show_note(name, was)
            said = name if isinstance(value, bool) else f"{name} = {show_value(name, value)}"
            found.append(
                LastingChange(
                    thing=self._thing(name),
                    how=("on" if value else "off") if isinstance(value, bool) else "set",
                    what=said if shown is None or isinstance(value, bool) else f"{said} (was {shown})",
                    was=was if was is None or _is_told(name, was) else hide_note(name, was),
                    by_hand=None if was is None else self._by_hand(name, was),
                )
            )
        return found

    def _by_hand(self, name: str, was: str) -> str:
        if _is_told(name, was):
            return f"{name} = {was} in {self.file}, then restart the bot"
        return f"give {name} in {self.file} the value that it had, then restart the bot"

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        path, names = Path(captured["file"]), self._changed_names(captured)
        try:
            content = atomic_file.read_bytes(path)
        except ActionError:
            if self._was_removed(path):
                return ["other"] * len(names)
            raise
        return [self._value_state(content, name, captured["was"][name]) for name in names]

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        """Also where another file is meant by now: its values count, for the bot reads that one."""
        path = self._resolved_path()
        name = Path(self.repo or "", self.file)
        moved = f"{path} is now another file, where " if path == name else f"{name} now leads to {path}, where "
        where = "" if str(path) == captured["file"] else moved
        try:
            content = atomic_file.read_bytes(path)
        except ActionError:
            if self._was_removed(path):
                return {self._thing(name): f"there is no file {path} any more" for name in self.set}
            raise
        found = {name: self._describe_other(content, name) for name in self.set}
        return {self._thing(name): f"{where}{text}" for name, text in found.items() if text is not None}

    def _describe_other(self, content: bytes, name: str) -> str | None:
        """What that name is instead; None: it is as it should be."""
        try:
            if editor.has_values(content, self.file, {name: self.set[name]}):
                return None
            return f"{name} = {get_values(content, self.file, (name,))[name]}"
        except UnreadableError:
            raise
        except ActionError:
            return f"{name} is not set any more"

    def _thing(self, name: str) -> str:
        return f"{Path(self.repo or '', self.file)}: {name}"

    def _value_state(self, content: bytes, name: str, was: str) -> StepState:
        try:
            if editor.has_values(content, self.file, {name: self.set[name]}):
                return "after"
            return "before" if self._is_as_noted(content, name, was) else "other"
        except UnreadableError:
            raise
        except ActionError:
            return "other"  # the file can be read, and what we set does not stand in it any more

    def _is_as_noted(self, content: bytes, name: str, was: str) -> bool:
        """An older version of ours has noted the very literal."""
        now = editor.note_values(content, self.file, (name,))[name]
        return was == now or was == get_values(content, self.file, (name,))[name]

    def _was_removed(self, path: Path) -> bool:
        """Where its folder is there, with other things in it. An empty one may be a disk that is not mounted."""
        top = folder.resolve(None, self.repo or str(path.parent))
        for parent in (each for each in path.parents if each.is_relative_to(top)):
            try:
                with folder.open_folder(parent) as seen:
                    return bool(seen.names()) and not seen.has(path.relative_to(parent).parts[0])
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return False

    def _changed_names(self, captured: JsonObject | None) -> list[str]:
        """Not those that were so already; a step of an older version of ours has not noted which."""
        return list(self.set if captured is None else captured.get("changed", self.set))

    def _resolved_path(self) -> Path:
        """The file itself: a rename over a symbolic link would leave the file it points to as it was."""
        return folder.resolve(self.repo, self.file)


def format_assignments(values: Mapping[str, Value]) -> str:
    """``FEATURE_X = false, SIZE = 5``: the same words in every message, whatever the file's language; no secrets."""
    return ", ".join(f"{name} = {show_value(name, value)}" for name, value in values.items())


def _show_note(name: str, was: str) -> str:
    return shorten(show_note(name, was), _MAX_SHOWN)


def _is_told(name: str, was: str) -> bool:
    """Whether it may be told as it was noted."""
    return show_note(name, was) == was
