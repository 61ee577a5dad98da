"""A file from its backup, such as a bot's state.json from state.json.backup."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal, Self

from pydantic import Field

from watchdog.actions.values.document_change import describe_change
from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, JsonObject, RepoPath
from watchdog.core.protocols import CompletedStep, Copies, Finding, NeededFiles, StepState
from watchdog.core.target import Target
from watchdog.host import atomic_file
from watchdog.host.file_metadata import (
    FileMetadata,
    describe_lost,
    give_metadata,
    has_default_list,
    inherited_metadata,
    read_metadata,
)
from watchdog.host.folder import Folder, ensure_owner_can_stay, open_folder, resolve
from watchdog.host.write_trial import describe_write_error, try_replacing

_NO_BACKUP_CURE = "see whether the bot writes one"
_CHUNK = 1 << 20
_LOOK_TIMEOUT = 20.0
"""Seconds that looking at a file may take."""
_JSON_LIMIT = 64 << 20
_DATABASE_SUFFIXES = ("-wal", "-journal")


class RestoreAction(ActionModel):
    """Puts a verified backup in a file's place, in one step; the replaced file is kept beside it."""

    repeatable: ClassVar[bool] = False  # the file that it replaced is put back

    do: Literal["restore"]
    file: RepoPath
    """The file, relative to the target's repo."""
    from_: Annotated[RepoPath, Field(alias="from")]
    """Its backup, likewise. Must not be empty; what ends in .json, on either side, must be JSON."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 that the backup must have, in hex."""
    repo: RepoPath | None = None
    """Folder that both are relative to, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """For copying; what is not done by then is not done at all."""

    def bind(self, target: Target) -> Self:
        return self.model_copy(update={"repo": atomic_file.resolve_base(target.repo, self.repo, self.file, self.from_)})

    def describe(self) -> str:
        return f"restore {self.file} from {self.from_}"

    def findings(self) -> tuple[Finding, ...]:
        backup = resolve(self.repo, self.from_)
        with contextlib.suppress(OSError):
            if not os.path.lexists(backup):
                return (Finding("missing now", ("from",), f"there is no backup {backup}", _NO_BACKUP_CURE),)
        return ()

    def redirect(self, copies: Copies) -> Self:
        file, backup = (str(copies.file(Path(self.repo or "/", name))) for name in (self.file, self.from_))
        return self.model_copy(update={"repo": None, "file": file, "from_": backup})

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles:
        if captured is not None:
            return NeededFiles((Path(captured["file"]), Path(captured["from"])))
        return NeededFiles((Path(self.repo or "", self.file), Path(self.repo or "", self.from_)))

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"file", "from": real paths, "old": SHA-256 of the file or null, "new": that of the backup, "aside": path or null,
        "kept_before": whether an earlier restore has left that}``."""
        until = time.monotonic() + self.timeout / 1_000
        path, backup = resolve(self.repo, self.file), resolve(self.repo, self.from_)
        if not path.parent.is_dir():
            raise ActionError(f"there is no folder {path.parent} — make it, or mend the name")
        old, new = _sha256(path, until), _sha256(backup, until)
        if new is None:
            raise ActionError(f"there is no backup {backup} — {_NO_BACKUP_CURE}")
        self._verify_backup(backup, new)
        _ensure_not_in_use(path)
        aside = None if old is None else str(path.with_name(f"{path.name}.replaced-{old[:12]}"))
        kept_before = aside is not None and os.path.lexists(aside)
        seen = {"file": str(path), "from": str(backup), "old": old, "new": new, "aside": aside}
        return {**seen, "kept_before": kept_before}

    def rehearse(self, captured: JsonObject) -> None:
        path, backup, size = Path(captured["file"]), Path(captured["from"]), 0
        with contextlib.suppress(OSError):  # not there yet, or not ours to look at, which the act itself says
            size = backup.lstat().st_size
            ensure_owner_can_stay(path.lstat(), path)
        try_replacing(path, size)

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return tuple(Path(path) for path in (captured["file"], captured["aside"]) if path is not None)

    def preview(self, captured: JsonObject) -> str:
        if captured["old"] == captured["new"]:
            return ""
        path, backup = Path(captured["file"]), Path(captured["from"])
        with contextlib.suppress(ActionError):
            if captured["old"] is not None:
                was, now = atomic_file.read_bytes(path), atomic_file.read_bytes(backup)
                return describe_change(was, now, str(path), self.file)
        try:
            with open_folder(backup.parent) as folder:
                return f"{path} would be replaced by {backup}, {folder.stat(backup.name).st_size} bytes\n"
        except OSError as problem:
            raise ActionError(f"{backup} cannot be looked at: {problem.strerror}") from None

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        until = time.monotonic() + self.timeout / 1_000
        path, backup = Path(captured["file"]), Path(captured["from"])
        try:
            with open_folder(path.parent) as folder, open_folder(backup.parent) as source:
                now = _digest_of(folder, path.name, until)
                if now == captured["new"]:
                    return f"{self.file} is as in {self.from_}"
                if now != captured["old"]:
                    raise ActionError(f"{path} was changed by somebody else in the meantime — stop the bot first")
                _ensure_not_in_use(path)
                size, lost = _replace(folder, path.name, source, backup.name, captured, until)
        except OSError as problem:
            raise ActionError(f"{describe_write_error(path, problem)} ({path} is as it was)") from None
        kept = f"; the replaced one is {captured['aside']}" if captured["aside"] else ""
        return f"{self.file} from {self.from_}, {size} bytes{kept}{describe_lost(lost)}"

    def state(self, captured: JsonObject) -> StepState:
        """Clears away what a crash left beside the file, too."""
        try:
            now = _sha256(Path(captured["file"]), time.monotonic() + _LOOK_TIMEOUT)
        except ActionError:
            return "unknown"
        if now != captured["new"]:
            _remove_leftovers(captured)
        return "after" if now == captured["new"] else "before" if now == captured["old"] else "other"

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        """Where another file is meant by now, and is not what was restored. What the bot makes of the one is its own business."""
        path = resolve(self.repo, self.file)
        if str(path) == captured["file"] or _sha256(path, time.monotonic() + _LOOK_TIMEOUT) == captured["new"]:
            return {}
        return {str(path): f"{Path(self.repo or '', self.file)} now leads to {path}, which was not restored"}

    def _verify_backup(self, backup: Path, found: str) -> None:
        """A backup that was cut off would make things worse. Raises ActionError."""
        if self.sha256 is not None and found != self.sha256:
            raise ActionError(
                f"the backup {backup} has SHA-256 {found[:12]}…, not {self.sha256[:12]}… — it is another one"
            )
        is_json = any(name.lower().endswith(".json") for name in (self.file, self.from_))
        content = _content(backup, _JSON_LIMIT + 1 if is_json else 1)
        if not content:
            raise ActionError(f"the backup {backup} is empty — an older one may be whole")
        if not is_json:
            return
        if len(content) > _JSON_LIMIT:
            raise ActionError(
                f"the backup {backup} has more than {_JSON_LIMIT} bytes, and cannot be verified — restore it by hand"
            )
        try:
            json.loads(content)
        except (ValueError, RecursionError) as problem:
            raise ActionError(f"the backup {backup} is no whole JSON: {problem} — an older one may be") from None


def _ensure_not_in_use(path: Path) -> None:
    for end in _DATABASE_SUFFIXES:
        if os.path.lexists(f"{path}{end}"):
            raise ActionError(f"{path}{end} is there: the database is open, or was not closed — stop the bot first")
    atomic_file.ensure_no_writers([path])


def _sha256(path: Path, deadline: float) -> str | None:
    """SHA-256 of the content; None when there is no file. Raises ActionError."""
    try:
        with open_folder(path.parent) as folder:
            return _digest_of(folder, path.name, deadline)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None


def _digest_of(folder: Folder, name: str, deadline: float) -> str | None:
    """The same in a folder that is open. Raises OSError, ActionError."""
    if not folder.has(name):
        return None
    with folder.open_file(name) as file:
        return _copy(file, None, deadline)


def _content(path: Path, limit: int) -> bytes:
    """The file's first bytes. Raises ActionError."""
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as file:
            return file.read(limit)
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None


def _replace(
    folder: Folder, name: str, source: Folder, backup: str, captured: JsonObject, until: float
) -> tuple[int, tuple[str, ...]]:
    """The backup in the file's place, with the file's own rights and owner, lists and attributes; its size, and what of those
    is not kept. Raises OSError, ActionError: then it is all as it was."""
    path, kept = folder.path / name, False

    def keep_replaced() -> None:
        nonlocal kept
        if captured["old"] is not None:
            kept = _keep_replaced(folder, name, captured, until)
        if _digest_of(folder, name, until) != captured["old"]:
            raise ActionError(f"{path} was changed by somebody else this very moment — stop the bot first")

    with source.open_file(backup) as read:
        was = os.fstat(read.fileno()) if captured["old"] is None else folder.stat(name)
        ensure_owner_can_stay(was, path)
        try:
            with atomic_file.replacement(folder, name, keep_replaced) as file:
                if _copy(read, file, until) != captured["new"]:
                    raise ActionError(f"the backup {source.path / backup} was changed in the meantime — look at it")
                lost = give_metadata(file.fileno(), _metadata_for(folder, name, read, captured))
                return file.tell(), lost
        except BaseException:
            with contextlib.suppress(OSError, ActionError):
                if kept and _digest_of(folder, name, time.monotonic() + _LOOK_TIMEOUT) != captured["new"]:
                    _remove_aside(folder, name, captured)
            raise


def _metadata_for(folder: Folder, name: str, backup: BinaryIO, captured: JsonObject) -> FileMetadata:
    """That of the file that is replaced; of one that is gone, what the kernel gives to a file made there with the backup's mode."""
    if captured["old"] is not None:
        with folder.open_file(name) as current:
            return read_metadata(current.fileno())
    found = read_metadata(backup.fileno())
    return inherited_metadata(folder.fd, found, found.mode) if has_default_list(folder.fd) else found


def _keep_replaced(folder: Folder, name: str, captured: JsonObject, until: float) -> bool:
    """A second name for the file that is replaced; where there can be none, a copy. False: there is one from an earlier time."""
    aside = Path(captured["aside"]).name
    if folder.has(aside):  # its name says its content
        if _digest_of(folder, aside, until) != captured["old"]:
            raise ActionError(f"{captured['aside']} is there and holds something else — look at it")
        return not captured.get("kept_before", True)
    try:
        folder.link(name, aside)
    except OSError:
        with folder.open_file(name) as old, atomic_file.replacement(folder, aside) as file:
            _copy(old, file, until)
            give_metadata(file.fileno(), read_metadata(old.fileno()))
    return True


def _remove_leftovers(captured: JsonObject) -> None:
    """What a try that was killed, or failed, has laid beside the file: it has replaced nothing."""
    path, aside = Path(captured["file"]), captured["aside"]
    with contextlib.suppress(OSError, ActionError), open_folder(path.parent) as folder:
        folder.unlink(atomic_file.hidden_name(path.name), missing_ok=True)
        if aside is not None and not captured.get("kept_before", True):
            folder.unlink(atomic_file.hidden_name(Path(aside).name), missing_ok=True)
            _remove_aside(folder, path.name, captured)


def _remove_aside(folder: Folder, name: str, captured: JsonObject) -> None:
    """Ours, if it is what it was when it was laid there, or still the very file. Raises OSError, ActionError."""
    aside = Path(captured["aside"]).name
    if folder.has(aside) and (
        (folder.has(name) and os.path.samestat(folder.stat(aside), folder.stat(name)))
        or _digest_of(folder, aside, time.monotonic() + _LOOK_TIMEOUT) == captured["old"]
    ):
        folder.unlink(aside)
        folder.sync()


def _copy(source: BinaryIO, to: BinaryIO | None, deadline: float) -> str:
    """From where it stands to the end; the SHA-256. Raises OSError, ActionError."""
    found = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        found.update(chunk)
        if to is not None:
            to.write(chunk)
        if time.monotonic() >= deadline:
            raise ActionError("not done in time (nothing was changed) — raise timeout")
    return found.hexdigest()
