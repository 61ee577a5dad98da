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
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from watchdog.actions import files
from watchdog.model import ActionError, Done, Duration, Json, State, StepPart, Target

_CHUNK = 1 << 20
_JSON_LIMIT = 64 << 20
_BESIDE_A_DATABASE = ("-wal", "-journal")


class Restore(StepPart):
    """Puts a verified backup in a file's place, in one step; the replaced file is kept beside it."""

    lasting: ClassVar[bool] = False  # the bot writes on in it

    do: Literal["restore"]
    file: str
    """The file, relative to the target's repo."""
    from_: Annotated[str, Field(alias="from")]
    """Its backup, likewise. Must not be empty; what ends in .json, on either side, must be JSON."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 that the backup must have, in hex."""
    repo: str | None = None
    """Folder that both are relative to, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """For copying; what is not done by then is not done at all."""

    def at(self, target: Target) -> Restore:
        return self.model_copy(update={"repo": files.base(target.repo, self.repo, self.file, self.from_)})

    def say(self) -> str:
        return f"restore {self.file} from {self.from_}"

    def before(self, done: Sequence[Done] = ()) -> Json:  # noqa: ARG002
        """``{"file", "from": real paths, "old": SHA-256 of the file or null, "new": that of the backup, "aside": path}``."""
        until = time.monotonic() + self.timeout / 1_000
        path, backup = Path(os.path.realpath(Path(self.repo or "", self.file))), self._backup()
        if not path.parent.is_dir():
            raise ActionError(f"there is no folder {path.parent} — make it, or mend the name")
        old, new = _sum(path, until), _sum(backup, until)
        if new is None:
            raise ActionError(f"there is no backup {backup} — see whether the bot writes one")
        self._verify(backup, new)
        _refuse_unsafe(path)
        aside = None if old is None else str(path.with_name(f"{path.name}.replaced-{old[:12]}"))
        return {"file": str(path), "from": str(backup), "old": old, "new": new, "aside": aside}

    def touches(self, before: Json) -> tuple[Path, ...]:
        return tuple(Path(path) for path in (before["file"], before["aside"]) if path is not None)

    def preview(self, before: Json) -> str:
        if before["old"] == before["new"]:
            return ""
        path, backup = Path(before["file"]), Path(before["from"])
        with contextlib.suppress(ActionError):
            if before["old"] is not None:
                return files.diff(files.read_bytes(path), files.read_bytes(backup), str(path))
        return f"{path} would be replaced by {backup}, {backup.stat().st_size} bytes\n"

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        until = time.monotonic() + self.timeout / 1_000
        path, backup = Path(before["file"]), Path(before["from"])
        now = _sum(path, until)
        if now == before["new"]:
            return f"{self.file} is as in {self.from_}"
        if now != before["old"]:
            raise ActionError(f"{path} was changed by somebody else in the meantime — stop the bot first")
        _refuse_unsafe(path)
        beside = path.with_name(f".{path.name}.trading-watchdog")
        try:
            if _copy(backup, beside, path if now is not None else backup, until) != before["new"]:
                raise ActionError(f"the backup {backup} was changed in the meantime — look at it")
            if now is not None:
                _keep(path, Path(before["aside"]))
            if _sum(path, until) != before["old"]:
                raise ActionError(f"{path} was changed by somebody else this very moment — stop the bot first")
            beside.replace(path)
            files.sync_folder(path.parent)
        except OSError as problem:
            raise ActionError(f"{problem.filename or path}: {problem.strerror} ({path} is as it was)") from None
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        kept = f"; the replaced one is {before['aside']}" if before["aside"] else ""
        return f"{self.file} from {self.from_}, {path.stat().st_size} bytes{kept}"

    def state(self, before: Json) -> State:
        try:
            now = _sum(Path(before["file"]), time.monotonic() + 20)
        except ActionError:
            return "unknown"
        return "after" if now == before["new"] else "before" if now == before["old"] else "other"

    def _backup(self) -> Path:
        return Path(os.path.realpath(Path(self.repo or "", self.from_)))

    def _verify(self, backup: Path, found: str) -> None:
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


def _refuse_unsafe(path: Path) -> None:
    for end in _BESIDE_A_DATABASE:
        if os.path.lexists(f"{path}{end}"):
            raise ActionError(f"{path}{end} is there: the database is open, or was not closed — stop the bot first")
    files.refuse_writers([path])


def _sum(path: Path, until: float) -> str | None:
    """SHA-256 of the content; None when there is no file. Raises ActionError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ActionError(f"{path} is no regular file")
        found = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
                _in_time(until)
        return found.hexdigest()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None


def _copy(backup: Path, beside: Path, like: Path, until: float) -> str:
    """`backup` as a new file, on the disk, with the mode and owner of `like`; its SHA-256. Raises OSError, ActionError."""
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()  # left over from a crash
    found = hashlib.sha256()
    with backup.open("rb") as source, beside.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            found.update(chunk)
            _in_time(until)
        files.alike(file.fileno(), like.stat())
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def _keep(path: Path, aside: Path) -> None:
    """A second name for the file that is replaced; where there can be none, a copy."""
    if aside.exists():
        return  # from an earlier try: its name says its content
    try:
        aside.hardlink_to(path)
    except OSError:
        half = aside.with_name(f".{aside.name}")
        _copy(path, half, path, time.monotonic() + 60)
        half.replace(aside)


def _in_time(until: float) -> None:
    if time.monotonic() >= until:
        raise ActionError("not done in time (nothing was changed) — raise timeout")
