"""Flags: single values in a configuration file of the bot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from watchdog.actions import files, scalars
from watchdog.actions.scalars import Value, edited, read
from watchdog.model import ActionError, Done, Duration, Json, State, StepPart, Target

__all__ = ["Flag", "edited", "read"]


class Flag(StepPart):
    """Sets values in a Python, YAML, JSON, TOML, INI or .env file: one line of difference each, the rest stays."""

    lasting: ClassVar[bool] = True

    do: Literal["flag"]
    file: str
    """The file, relative to the target's repo; its ending says its kind."""
    set: Annotated[dict[str, Value], Field(min_length=1)]
    """What should be so: name and value, or a list of values. A dotted name is a path of keys: features.hmm_v2."""
    repo: str | None = None
    """Folder that `file` is relative to, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """Reading and writing one local file does not wait for anything: for symmetry with the other actions."""

    @field_validator("file")
    @classmethod
    def _known_kind(cls, file: str) -> str:
        scalars.kind(file)
        return file

    @model_validator(mode="after")
    def _names_fit(self) -> Flag:
        scalars.check_names(self.file, self.set)
        return self

    def at(self, target: Target) -> Flag:
        return self.model_copy(update={"repo": files.base(target.repo, self.repo, self.file)})

    def say(self) -> str:
        return f"set {listed(self.set)} in {self.file}"

    def before(self, done: Sequence[Done] = ()) -> Json:  # noqa: ARG002 - other people's edits on other lines may stay
        """``{"file": real path, "was": {name: literal as written}, "sha": SHA-256 of the content}``."""
        path = self._path()
        content = files.read_bytes(path)
        was = read(content, self.file, self.set)
        edited(content, self.file, self.set)  # what cannot be done is said before anything is
        return {"file": str(path), "was": was, "sha": hashlib.sha256(content).hexdigest()}

    def touches(self, before: Json) -> tuple[Path, ...]:
        return (Path(before["file"]),)

    def preview(self, before: Json) -> str:
        path = Path(before["file"])
        content = files.read_bytes(path)
        return files.diff(content, edited(content, self.file, self.set), str(path))

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        """One rename. Refuses when a value is neither what it was nor what it should be."""
        path = Path(before["file"])
        content = files.read_bytes(path)
        if scalars.holds(content, self.file, self.set):
            return f"{listed(self.set)} in {self.file}"
        if (now := read(content, self.file, self.set)) != before["was"]:
            changed = ", ".join(name for name in now if now[name] != before["was"].get(name))
            raise ActionError(f"{changed} in {self.file} was changed by somebody else in the meantime — look at it")
        files.replace(path, edited(content, self.file, self.set), content)
        was = ", ".join(f"{name} was {text}" for name, text in before["was"].items())
        return f"{listed(self.set)} in {self.file} ({was})"

    def state(self, before: Json) -> State:
        path = Path(before["file"])
        try:
            content = files.read_bytes(path)
        except ActionError:
            return "unknown"
        try:
            if scalars.holds(content, self.file, self.set):
                return "after"
            return "before" if read(content, self.file, self.set) == before["was"] else "other"
        except ActionError:
            return "other"  # the file is there, and what we noted is not in it any more

    def _path(self) -> Path:
        """The file itself: a rename over a symbolic link would leave the file it points to as it was."""
        path = Path(self.repo or "", self.file)
        try:
            return path.resolve(strict=True)
        except (OSError, RuntimeError):
            raise ActionError(f"there is no file {path} — name it relative to the target's repo") from None


def listed(values: Mapping[str, Value]) -> str:
    """``FEATURE_X = false, SIZE = 5``: the same words in every message, whatever the file's language."""
    return ", ".join(f"{name} = {_shown(value)}" for name, value in values.items())


def _shown(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, str) else str(value)
