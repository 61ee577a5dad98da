"""A command of the operator's own, for what no other action knows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, FrozenList, JsonObject, RepoPath, VariableName
from watchdog.core.protocols import (
    CompletedStep,
    Finding,
    LastingChange,
    ProgramCall,
    StepState,
)
from watchdog.core.target import Target
from watchdog.host import child_process

_CHECK_TIMEOUT_MS = 20_000  # whoever asks for the state does not wait long


class CommandAction(ActionModel):
    """Runs a program without a shell, in its own process group. Without a `check` it is never tried twice."""

    do: Literal["command"]
    run: Annotated[FrozenList[str], Field(min_length=1)]
    """Program and arguments. Exit code 0 is success."""
    check: Annotated[FrozenList[str], Field(min_length=1)] | None = None
    """Asks whether it is so already: exit code 0 yes, 1 no, anything else cannot tell. Must change nothing."""
    leaves: str | None = None
    """With `check`: what is so afterwards, until the check says no, such as `entries are closed`. `status` says it."""
    cwd: RepoPath | None = None
    """Working directory, relative to the target's repo; the repo itself when not said."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables that both get, beside PATH, HOME, USER, LOGNAME, SHELL, TMPDIR, TZ and the language. `run` also gets
    WATCHDOG_STEP_KEY, the same for every try."""
    inherit: FrozenList[VariableName] = ()
    """Names of variables that both get from the watchdog's own environment, which they do not see otherwise: for secrets,
    since `env` stands in the journal."""
    timeout: Duration = 60_000
    """After it the program and its children are ended; `check` has at most 20s of it."""

    @model_validator(mode="after")
    def _validate_leaves(self) -> CommandAction:
        if self.leaves is not None and self.check is None:
            raise ValueError("leaves needs a check: whether it still is so is asked, and not remembered")
        return self

    def bind(self, target: Target) -> Self:
        cwd = Path(target.repo or "", self.cwd or "")
        if self.cwd is not None and not cwd.is_absolute():
            raise ActionError(f"{self.cwd} is relative, to nothing — give the target a repo, or write the full path")
        return self.model_copy(update={"cwd": str(cwd) if cwd.parts else None})

    def describe(self) -> str:
        return f"run {child_process.last_lines(shlex.join(self.run), limit=120)}"

    def programs(self) -> tuple[ProgramCall, ...]:
        named = {"run": self.run, "check": self.check or ()}
        return tuple(ProgramCall(argv, key, self.cwd, self.env, self.inherit) for key, argv in named.items() if argv)

    def findings(self) -> tuple[Finding, ...]:
        """Its programs: one of the repository is missing, one of the machine is missing now, where somebody looks."""
        found = []
        for program in self.programs():
            try:
                child_process.ensure_program(program.argv[0], program.cwd, program.env)
            except ActionError as error:
                name = program.argv[0]
                of_repo = "/" in name and not name.startswith("/")
                found.append(Finding.of("missing" if of_repo else "missing now", (program.key, 0), error))
        return tuple(found)

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"check": exit code of the check, or null}``; for people, `state` asks anew."""
        for program, *_ in (self.run, self.check or self.run):  # a program that is missing is said ahead of the act
            child_process.ensure_program(program, self.cwd, self.env)
        child_process.child_environment(self.env, self.inherit)  # and so is a variable that is missing
        return {"check": None if self.check is None else self._run_check(self.check)}

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        ran = child_process.run(
            self.run,
            input=None if incident is None else json.dumps(incident).encode(),
            cwd=self.cwd,
            env={**self.env, "WATCHDOG_STEP_KEY": idempotency_key},
            inherit=self.inherit,
            timeout_ms=self.timeout,
        )
        words = child_process.last_words(ran.stderr) or child_process.last_words(ran.stdout)
        if ran.exit_code != 0:
            raise ActionError(f"{self.describe()} ended with {ran.exit_code}{f': {words}' if words else ''}")
        if self.check is not None and (code := self._run_check(self.check)) != 0:
            raise ActionError(f"{self.describe()} ended well, yet its check ended with {code}")
        said = child_process.last_words(ran.stdout, lines=1)
        return f"{shlex.join(self.run)[:120]} ended well{f': {said}' if said else ''}"

    def state(self, captured: JsonObject) -> StepState:  # noqa: ARG002
        if self.check is None:
            return "unknown"
        try:
            code = self._run_check(self.check)
        except ActionError:
            return "unknown"
        return "after" if code == 0 else "before" if code == 1 else "unknown"

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:  # noqa: ARG002
        if self.leaves is None:
            return ()
        return (LastingChange(f"command {self.cwd or ''}: {shlex.join(self.run)}", "left", self.leaves),)

    def _run_check(self, check: Sequence[str]) -> int:
        return child_process.run(
            check,
            cwd=self.cwd,
            env=self.env,
            inherit=self.inherit,
            timeout_ms=min(self.timeout, _CHECK_TIMEOUT_MS),
        ).exit_code
