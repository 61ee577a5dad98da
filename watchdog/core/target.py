"""What is protected: a bot, where it runs, and when it may be repaired."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, Strict, model_validator

from watchdog.core.errors import ActionError
from watchdog.core.hours import Hours
from watchdog.core.model import ConfigModel, CwdPath, Duration, FilePath, FrozenList, Millis, VariableName
from watchdog.core.units import parse_duration


class ProcessSpec(ConfigModel):
    """A bot that runs without systemd: how it is found, and how it is started."""

    pid_file: CwdPath
    """File that holds the bot's process id; relative to `cwd`."""
    command: FrozenList[str]
    """Program and arguments; run without a shell."""
    cwd: FilePath | None = None
    """Working directory; the target's repo when not said."""
    log: CwdPath | None = None
    """File that receives stdout and stderr; thrown away when not said."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables that are set for it beside PATH, HOME, USER, LOGNAME, SHELL, TMPDIR, TZ and the language."""
    inherit: FrozenList[VariableName] = ()
    """Names of variables that it gets from the watchdog's own environment, which it does not see otherwise."""

    def resolve(self, repo: str | None) -> ProcessSpec:
        """The same with `cwd` as a full path. Raises ActionError: neither `cwd` nor the target's repo says one."""
        cwd = Path(repo or "", self.cwd or "")
        if not cwd.is_absolute():
            raise ActionError("nobody says where the process runs — give it a cwd, or the target a repo")
        return self.model_copy(update={"cwd": str(cwd)})


class Budget(NamedTuple):
    runs: int
    per: Millis
    text: str


def parse_budget_text(text: str, what: str = "a budget") -> Budget:
    """``3 per 1h``. Raises ValueError with the cure; `what` it is, for people."""
    count, _, per = (part.strip() for part in text.partition("per"))
    if not count.isdecimal() or len(count) > 6 or int(count) < 1 or not per:
        raise ValueError(f"{what} reads like 3 per 1h, not {text!r}")
    return Budget(int(count), parse_duration(per), text)


def _parse_budget(value: object) -> object:
    """``["3 per 1h", "7 per 1d"]`` or one such string → budgets. Raises ValueError with the cure."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str | Budget) for text in texts):
        raise ValueError("a budget reads like 3 per 1h, or a list of such")
    return tuple(text if isinstance(text, Budget) else parse_budget_text(text) for text in texts)


class Escalation(ConfigModel):
    """A further channel is told when nobody has acknowledged a critical incident."""

    after: Duration
    """How long people have to acknowledge it."""
    to: FrozenList[str]
    """Channels that are told then, once."""

    @model_validator(mode="after")
    def _is_one(self) -> Escalation:
        if not self.to:
            raise ValueError("escalate names no channel to tell — say to: [pager]")
        if self.after < 1_000:
            raise ValueError("nobody acknowledges that fast — say after: 15m")
        return self


class Maintenance(Hours):
    """Hours in which no repair is started: somebody else is at work then, week for week. Halts are."""

    called: ClassVar[str] = "maintenance"

    why: str
    """Stands where people ask why nothing is repaired."""


Variable = str | int | float | bool


def _check_variable_names(value: object) -> object:
    for name in value if isinstance(value, Mapping) else ():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", str(name)) or name in ("max", "min"):
            raise ValueError(f"{str(name)[:60]!r} is no name for a variable — use letters, digits and _")
    return value


class Target(ConfigModel):
    """What is protected: one bot. Key of locks, latches and incidents."""

    unit: str | None = None
    """systemd unit of the bot."""
    process: ProcessSpec | None = None
    """The bot's process, when it is no systemd unit."""
    repo: FilePath | None = None
    """Git work tree the bot runs from."""
    run_as: str | None = None
    """User under which everything is done to it and read of it; when not said, whoever owns the repo, else the process's `cwd`."""
    budget: Annotated[tuple[Budget, ...], BeforeValidator(_parse_budget), Strict(False)] = ()
    """Repairs that rules may start, such as ``3 per 1h``; one over budget is refused. Halts, undos and what people start
    count for nothing."""
    cooldown: Duration = 15 * 60_000
    """Least time from the end of one repair to the start of the next."""
    settling: Duration = 10 * 60_000
    """After somebody else deployed or restarted the bot: so long repairs wait. Halts do not."""
    maintenance: FrozenList[Maintenance] = ()
    """Hours in which rules start no repair. Halts run."""
    notify: FrozenList[str] | None = None
    """Channels that are told of it, where its rules (or the defaults of their file) do not say it themselves; all when not said."""
    escalate: Escalation | Literal["off"] | None = None
    """Which channels are told when nobody acknowledges a critical incident: `{after: 15m, to: [pager]}`, or `off`; when not said,
    as `escalate` of watchdog.yaml says."""
    sources: FrozenList[str] | None = None
    """Sources that are its own: no other target's rule sees them. Those that no target names are seen by all. With a single
    target that says none, everything is its own."""
    vars: Annotated[dict[str, Variable], BeforeValidator(_check_variable_names)] = Field(default_factory=dict)
    """What stands for ``${NAME}`` in the KPIs, rules and plans that speak of it: `{flag: FEATURE_HMM_V2, bar: 1s}`."""

    def location(self) -> str:
        """Where the bot is, as JSON: what the journal keeps with each run. It is a Target that says no more than that."""
        said = _LOCATION if self.run_as is None else _LOCATION | {"run_as"}
        # Journals compare it as text: where nothing is inherited it reads as it did before that could be said.
        unsaid = {"process": {"inherit"}} if self.process is not None and not self.process.inherit else None
        return self.model_dump_json(include=said, exclude=unsaid)

    @property
    def has_location(self) -> bool:
        return any(getattr(self, name) for name in _LOCATION)


_LOCATION = {"unit", "process", "repo"}


def has_own_sources(targets: Iterable[Target]) -> bool:
    """Whether any of them says what is its own; then each sees that and what is nobody's."""
    return any(target.sources is not None for target in targets)
