"""A file from its backup, such as a bot's state.json from state.json.backup."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, JsonObject, RepoPath
from watchdog.core.protocols import CompletedStep, Copies, StepState
from watchdog.core.target import Target
from watchdog.host import atomic_file

_CHUNK = 1 << 20
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

    def redirect(self, copies: Copies) -> Self:
        file, backup = (str(copies.file(Path(self.repo or "/", name))) for name in (self.file, self.from_))
        return self.model_copy(update={"repo": None, "file": file, "from_": backup})

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"file", "from": real paths, "old": SHA-256 of the file or null, "new": that of the backup, "aside": path}``."""
        until = time.monotonic() + self.timeout / 1_000
        path, backup = Path(os.path.realpath(Path(self.repo or "", self.file))), self._backup_path()
        if not path.parent.is_dir():
            raise ActionError(f"there is no folder {path.parent} — make it, or mend the name")
        old, new = _sha256(path, until), _sha256(backup, until)
        if new is None:
            raise ActionError(f"there is no backup {backup} — see whether the bot writes one")
        self._verify_backup(backup, new)
        _ensure_not_in_use(path)
        aside = None if old is None else str(path.with_name(f"{path.name}.replaced-{old[:12]}"))
        return {"file": str(path), "from": str(backup), "old": old, "new": new, "aside": aside}

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return tuple(Path(path) for path in (captured["file"], captured["aside"]) if path is not None)

    def preview(self, captured: JsonObject) -> str:
        if captured["old"] == captured["new"]:
            return ""
        path, backup = Path(captured["file"]), Path(captured["from"])
        with contextlib.suppress(ActionError):
            if captured["old"] is not None:
                return atomic_file.unified_diff(atomic_file.read_bytes(path), atomic_file.read_bytes(backup), str(path))
        return f"{path} would be replaced by {backup}, {backup.stat().st_size} bytes\n"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        until = time.monotonic() + self.timeout / 1_000
        path, backup = Path(captured["file"]), Path(captured["from"])
        now = _sha256(path, until)
        if now == captured["new"]:
            return f"{self.file} is as in {self.from_}"
        if now != captured["old"]:
            raise ActionError(f"{path} was changed by somebody else in the meantime — stop the bot first")
        _ensure_not_in_use(path)
        beside = path.with_name(f".{path.name}.trading-watchdog")
        try:
            if _copy_file(backup, beside, path if now is not None else backup, until) != captured["new"]:
                raise ActionError(f"the backup {backup} was changed in the meantime — look at it")
            if now is not None:
                _keep_replaced(path, Path(captured["aside"]))
            if _sha256(path, until) != captured["old"]:
                raise ActionError(f"{path} was changed by somebody else this very moment — stop the bot first")
            beside.replace(path)
            atomic_file.fsync_directory(path.parent)
        except OSError as problem:
            raise ActionError(f"{problem.filename or path}: {problem.strerror} ({path} is as it was)") from None
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        kept = f"; the replaced one is {captured['aside']}" if captured["aside"] else ""
        return f"{self.file} from {self.from_}, {path.stat().st_size} bytes{kept}"

    def state(self, captured: JsonObject) -> StepState:
        try:
            now = _sha256(Path(captured["file"]), time.monotonic() + 20)
        except ActionError:
            return "unknown"
        return "after" if now == captured["new"] else "before" if now == captured["old"] else "other"

    def _backup_path(self) -> Path:
        return Path(os.path.realpath(Path(self.repo or "", self.from_)))

    def _verify_backup(self, backup: Path, found: str) -> None:
        """A backup that was cut off would make things worse. Raises ActionError."""
        if self.sha256 is not None and found != self.sha256:
            raise ActionError(
                f"the backup {backup} has SHA-256 {found[:12]}…, not {self.sha256[:12]}… — it is another one"
            )
        size = backup.stat().st_size
        if size == 0:
            raise ActionError(f"the backup {backup} is empty — an older one may be whole")
        if not any(name.lower().endswith(".json") for name in (self.file, self.from_)):
            return
        if size > _JSON_LIMIT:
            raise ActionError(f"the backup {backup} has {size} bytes: more than can be verified — restore it by hand")
        try:
            json.loads(backup.read_bytes())
        except (OSError, ValueError, RecursionError) as problem:
            raise ActionError(f"the backup {backup} is no whole JSON: {problem} — an older one may be") from None


def _ensure_not_in_use(path: Path) -> None:
    for end in _DATABASE_SUFFIXES:
        if os.path.lexists(f"{path}{end}"):
            raise ActionError(f"{path}{end} is there: the database is open, or was not closed — stop the bot first")
    atomic_file.ensure_no_writers([path])


def _sha256(path: Path, deadline: float) -> str | None:
    """SHA-256 of the content; None when there is no file. Raises ActionError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ActionError(f"{path} is no regular file")
        found = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
                _check_deadline(deadline)
        return found.hexdigest()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None


def _copy_file(backup: Path, destination: Path, metadata_from: Path, deadline: float) -> str:
    """`backup` as a new file, on the disk, with the mode and owner of `metadata_from`; its SHA-256. Raises OSError, ActionError."""
    with contextlib.suppress(FileNotFoundError):
        destination.unlink()  # left over from a crash
    found = hashlib.sha256()
    with backup.open("rb") as source, destination.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            found.update(chunk)
            _check_deadline(deadline)
        atomic_file.copy_mode_and_owner(file.fileno(), metadata_from.stat())
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def _keep_replaced(path: Path, aside: Path) -> None:
    """A second name for the file that is replaced; where there can be none, a copy."""
    if aside.exists():
        return  # from an earlier try: its name says its content
    try:
        aside.hardlink_to(path)
    except OSError:
        half = aside.with_name(f".{aside.name}")
        _copy_file(path, half, path, time.monotonic() + 60)
        half.replace(aside)


def _check_deadline(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise ActionError("not done in time (nothing was changed) — raise timeout")
