"""A command of the operator's own, for what no other action knows."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from watchdog.actions import child
from watchdog.model import ActionError, Done, Duration, Json, Seq, State, StepPart, Target

_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_CHECK_MS = 20_000  # whoever asks for the state does not wait long


class Command(StepPart):
    """Runs a program without a shell, in its own process group, with the incident as JSON on stdin.

    Without a `check` it is never tried twice.
    """

    lasting: ClassVar[bool] = False

    do: Literal["command"]
    run: Annotated[Seq[str], Field(min_length=1)]
    """Program and arguments. Exit code 0 is success."""
    check: Annotated[Seq[str], Field(min_length=1)] | None = None
    """Asks whether it is so already: exit code 0 yes, 1 no, anything else cannot tell. Must change nothing."""
    cwd: str | None = None
    """Working directory, relative to the target's repo; the repo itself when not said."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment of the program, with PATH, HOME, LANG and the like. `run` also gets WATCHDOG_STEP_KEY."""
    inherit: Seq[str] = ()
    """Variables of the watchdog's own environment that the program gets too."""
    user: str | None = None
    """Who runs it; for a watchdog that runs as root."""
    group: str | None = None
    """Its group; the user's own when not said."""
    timeout: Duration = 60_000
    """After it the program and its children are ended; `check` has at most 20s of it."""

    def at(self, target: Target) -> Command:
        cwd = Path(target.repo or "", self.cwd or "")
        if self.cwd is not None and not cwd.is_absolute():
            raise ActionError(f"{self.cwd} is relative, to nothing — give the target a repo, or write the full path")
        return self.model_copy(update={"cwd": str(cwd) if cwd.parts else None})

    def say(self) -> str:
        who = "" if self.user is None else f" as {self.user}"
        return f"run {child.last_lines(shlex.join(self.run), limit=100)}{who}"

    def before(self, done: Sequence[Done] = ()) -> Json:  # noqa: ARG002
        """``{"check": exit code of the check, or null}``; for people, `state` asks anew."""
        self._owner()  # who cannot be is said before anything is done
        return {"check": None if self.check is None else self._check(self.check)}

    def touches(self, before: Json) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def preview(self, before: Json) -> str:  # noqa: ARG002
        return self.say()

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        told = json.dumps(incident).encode() + b"\n"
        ran = self._run(self.run, self.timeout, {"WATCHDOG_STEP_KEY": key}, told)
        words = child.last_lines(ran.err) or child.last_lines(ran.out)
        if ran.code != 0:
            raise ActionError(f"{self.say()} ended with {ran.code}{f': {words}' if words else ''}")
        if self.check is not None and (code := self._check(self.check)) != 0:
            raise ActionError(f"{self.say()} ended well, yet its check ended with {code}")
        said = child.last_lines(ran.out, lines=1)
        return f"{shlex.join(self.run)[:120]} ended well{f': {said}' if said else ''}"

    def state(self, before: Json) -> State:  # noqa: ARG002
        if self.check is None:
            return "unknown"
        try:
            code = self._check(self.check)
        except ActionError:
            return "unknown"
        return "after" if code == 0 else "before" if code == 1 else "unknown"

    def _check(self, check: Sequence[str]) -> int:
        return self._run(check, min(self.timeout, _CHECK_MS), {}, None).code

    def _run(self, argv: Sequence[str], timeout: int, more: Mapping[str, str], told: bytes | None) -> child.Ran:
        owner = self._owner()
        who = {} if owner is None or self.user is None else {"HOME": owner.home, "USER": self.user, "LOGNAME": self.user}
        return child.run(
            argv, cwd=self.cwd, env={**who, **self.env, **more}, inherit=(*_INHERITED, *self.inherit),
            timeout_ms=timeout, input=told, owner=owner,
        )  # fmt: skip

    def _owner(self) -> child.Owner | None:
        """Whom to run as. ActionError when there is no such user, or when we may not."""
        if self.user is None and self.group is None:
            return None
        try:
            user = pwd.getpwuid(os.geteuid()) if self.user is None else pwd.getpwnam(self.user)
        except KeyError:
            raise ActionError(f"there is no user {self.user} here — make one, or mend the name") from None
        try:
            gid = user.pw_gid if self.group is None else grp.getgrnam(self.group).gr_gid
        except KeyError:
            raise ActionError(f"there is no group {self.group} here — make one, or mend the name") from None
        if os.geteuid() != 0:
            if (user.pw_uid, gid) == (os.geteuid(), os.getegid()):
                return None
            raise ActionError("only root may run a program as somebody else — leave user and group out, or run as root")
        return child.Owner(user.pw_uid, gid, tuple({gid, *os.getgrouplist(user.pw_name, user.pw_gid)}), user.pw_dir)
