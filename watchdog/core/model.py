"""The nouns everybody shares: frozen, without behaviour that touches the world.

Times are integer milliseconds since the epoch and durations integer milliseconds, everywhere between the borders
(PromQL itself speaks seconds, as Prometheus does).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from watchdog.core.schedule import in_schedule, parse_between, parse_days, parse_zone
from watchdog.core.units import parse_duration

Millis = int
"""A time since the epoch, or a duration; always whole milliseconds."""

Labels = tuple[tuple[str, str], ...]
"""Label pairs sorted by name. The metric's own name is not among them unless said otherwise."""

JsonObject = dict[str, Any]
"""What an action noted before it acted; must survive ``json.dumps``."""

T = TypeVar("T")
FrozenList = Annotated[tuple[T, ...], Strict(False)]
"""A YAML list, frozen."""

Duration = Annotated[Millis, BeforeValidator(parse_duration)]
"""``90s``, ``5m``, ``1h30m`` in a file; milliseconds in the code."""


class ConfigModel(BaseModel):
    """Base of everything a user writes in a file: frozen, strict, unknown keys refused. Never holds state."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class ActionModel(ConfigModel):
    """What every step of a plan may say, whatever it does. Base of all actions."""

    retries: Annotated[int, Field(ge=0, le=100)] = 0
    """How often a step that failed is tried again. One of which nobody can tell whether it happened is not."""
    retry_after: Duration = 5_000
    """How long to wait before each of those."""
    on_error: Literal["escalate", "continue", "stop"] = "escalate"
    """When it failed for good: the level has failed; go on with the next step; or stop the plan and ask a person."""


class Sample(NamedTuple):
    """One float of one series. `labels` come without ``source``: whoever keeps the sample adds that."""

    name: str
    labels: Labels
    t: Millis
    v: float


class ProcessSpec(ConfigModel):
    """A bot that runs without systemd: how it is found, and how it is started."""

    pid_file: str
    """File that holds the bot's process id; relative to `cwd`."""
    command: FrozenList[str]
    """Program and arguments; run without a shell."""
    cwd: str | None = None
    """Working directory; the target's repo when not said."""
    log: str | None = None
    """File that receives stdout and stderr; thrown away when not said."""
    env: dict[str, str] = {}
    """Variables that are set for it beside our own."""


class Budget(NamedTuple):
    runs: int
    per: Millis
    text: str


def _parse_budget(value: object) -> object:
    """``["3 per 1h", "7 per 1d"]`` or one such string → budgets. Raises ValueError with the cure."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str | Budget) for text in texts):
        raise ValueError("a budget reads like 3 per 1h, or a list of such")
    budgets = []
    for text in texts:
        if isinstance(text, Budget):
            budgets.append(text)
            continue
        count, _, per = (part.strip() for part in text.partition("per"))
        if not count.isdecimal() or len(count) > 6 or int(count) < 1 or not per:
            raise ValueError(f"a budget reads like 3 per 1h, not {text!r}")
        budgets.append(Budget(int(count), parse_duration(per), text))
    return tuple(budgets)


class Maintenance(ConfigModel):
    """Hours in which no repair is started: somebody else is at work then, week for week. Halts are."""

    between: Annotated[str | None, BeforeValidator(parse_between)] = None
    """Hours of the day, `"22:00-23:30"`; over midnight belongs to the day it begins on."""
    days: Annotated[FrozenList[str] | None, BeforeValidator(parse_days)] = None
    """Days of the week: `[mon-fri]`, `[sat, sun]`."""
    timezone: Annotated[str, BeforeValidator(parse_zone)] = "UTC"
    """Whose clock is meant."""
    why: str
    """Stands where people ask why nothing is repaired."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Maintenance:
        if self.between is None and self.days is None:
            raise ValueError("maintenance needs between or days: it has an end")
        return self

    def active_at(self, t: Millis) -> bool:
        return in_schedule(self.between, self.days, self.timezone, t)


class Target(ConfigModel):
    """What is protected: one bot. Key of locks, latches and incidents."""

    unit: str | None = None
    """systemd unit of the bot."""
    process: ProcessSpec | None = None
    """The bot's process, when it is no systemd unit."""
    repo: str | None = None
    """Git work tree the bot runs from."""
    budget: Annotated[tuple[Budget, ...], BeforeValidator(_parse_budget), Strict(False)] = ()
    """Plan runs that rules may start, such as ``3 per 1h``; a repair over budget is refused, a halt never."""
    cooldown: Duration = 15 * 60_000
    """Least time from the end of one repair to the start of the next."""
    settling: Duration = 10 * 60_000
    """After somebody else deployed or restarted the bot: so long repairs wait. Halts do not."""
    maintenance: FrozenList[Maintenance] = ()
    """Hours in which rules start no repair. Halts run."""


Severity = Literal["info", "warn", "crit"]
Outcome = Literal["ok", "bad", "nodata", "error"]


class Verdict(NamedTuple):
    """What one evaluation of one threshold for one label set says."""

    rule: str
    level: Literal["warn", "crit"]
    labels: Labels
    outcome: Outcome
    """`ok`: not beyond the limit; `bad`: beyond it; `nodata`: nothing to judge by; `error`: it could not be judged."""
    reason: str
    """For people, complete: value, limit, evidence."""
    value: float | None = None
    limit: float | None = None
    cleared: bool = False
    """On the good side of the recovery threshold (only ever true when `ok`)."""
    evidence: Millis = 0
    """Oldest of the newest sample times that were read; 0 = none was. New evidence makes a new evaluation."""
    gone: bool = False
    """`nodata` of a label set that has no value although others have."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is asked to say, once. `title` and `lines` are plain text: markup is each notifier's business."""

    key: str
    """Identifies the message in the journal; a repeated send carries the same key."""
    severity: Severity
    title: str
    lines: tuple[str, ...] = ()
    incident: int | None = None
    """Messages of one incident belong in one thread."""
    thread: str | None = None
    """What `send` returned for the incident's first message on this channel; None when this is the first."""
    facts: Mapping[str, str] = field(default_factory=dict)


class WatchdogError(Exception):
    """Base of what may cross a border. Its text is for the operator: what happened and, where known, the cure."""


class SourceError(WatchdogError):
    """A source could not be read. The data is missing; nothing is said about the bot."""


class ActionError(WatchdogError):
    """A change to the world failed."""

    def __init__(self, message: str, *, may_have_happened: bool = False) -> None:
        """`may_have_happened`: it is not known whether the world changed (a time-out, a lost connection)."""
        super().__init__(message)
        self.may_have_happened = may_have_happened


class NotifyError(WatchdogError):
    """A message was not delivered."""

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        """`permanent`: trying again cannot help (bad token, unknown chat). `retry_after`: seconds, the server says."""
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


SourceState = dict[str, Any]
"""A source's own memory between reads (offsets, last values); kept by the daemon, since a Part holds no state."""

StepState = Literal["before", "after", "other", "unknown"]


class Source(Protocol):
    """Where samples come from. Runs in a thread; raises SourceError only."""

    @property
    def every(self) -> Millis: ...

    def read(self, state: SourceState, now: Millis) -> Iterable[Sample]: ...


class CompletedStep(NamedTuple):
    """A step that this incident has already done: git needs to know which edits in the tree are ours."""

    action: Any
    before: JsonObject
    in_force: bool
    """True when the edit must outlive the next steps (a plan's `before:` rows)."""


class Action(Protocol):
    """A change to the world. Runs in a thread; raises ActionError only."""

    @property
    def persistent(self) -> bool:
        """What it did stays until somebody changes it (a file, a commit); a restart is not lasting."""
        ...

    def bind(self, target: Target) -> Action:
        """The same action with the target's repository, unit and process filled in."""
        ...

    def describe(self) -> str:
        """The change in a few words: ``set FEATURE_HMM_V2 = false in config.py``."""
        ...

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:
        """What is so now. Read-only; journalled with `started`, ahead of the act."""
        ...

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        """Absolute paths of the files and folders that `apply` will change, for a backup ahead of it; none: no files."""
        ...

    def preview(self, captured: JsonObject) -> str:
        """Exactly what `apply` would change: a unified diff of files, else one line. Empty: nothing. Touches nothing."""
        ...

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:
        """Make it so; return one line for people. `key` is the same for every try of this step.

        `incident`: what tripped, for actions that hand it on. Its strings come from the data: never words of a command.
        """
        ...

    def state(self, captured: JsonObject) -> StepState:
        """`after`: it is so; `before`: nothing happened yet; `other`: changed by others; `unknown`: cannot tell."""
        ...


class Notifier(Protocol):
    """Tells people. `send` may be a coroutine where the client library is; raises NotifyError only.

    Returns a handle for the thread (a Slack ts, a Telegram message id), or None.
    """

    @property
    def from_(self) -> Severity: ...

    def send(self, message: Message) -> Any: ...
