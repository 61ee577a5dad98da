"""The nouns everybody shares: frozen, without behaviour that touches the world.

Times are integer milliseconds since the epoch and durations integer milliseconds, everywhere between the borders
(PromQL itself speaks seconds, as Prometheus does).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, Strict

from watchdog.core.pattern import validate_search_pattern
from watchdog.core.text import shorten
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

Regex = Annotated[str, AfterValidator(validate_search_pattern)]
"""A regular expression, found anywhere in a text by `core.pattern.search_pattern`."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _validate_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("this names no variable: write NAME, without $ and without a value")
    return name


VariableName = Annotated[str, AfterValidator(_validate_variable)]
"""A variable of the environment, by its name."""

Secret: TypeAlias = SecretStr
"""A text that is shown nowhere; only for models that `expand_environment`, since only their secrets are redacted."""


@dataclass(frozen=True, slots=True)
class PathField:
    """Marks a text as a path, or a model as one whose paths do not start where they usually do."""

    relative_to: Literal["config", "repo", "cwd"]
    """Where a relative path starts: the folder of watchdog.yaml, the target's repo, the working directory beside it."""
    credential: bool = False
    """When systemd has a credential of that name, that is meant."""


FilePath = Annotated[str, PathField("config")]
"""Relative to the folder of watchdog.yaml; absolute once the file is loaded."""
SecretFile = Annotated[str, PathField("config", credential=True)]
"""The same for a file that holds a secret, which may be one of systemd's credentials."""
RepoPath = Annotated[str, PathField("repo")]
"""Relative to the repo of the target that a step is bound to."""
CwdPath = Annotated[str, PathField("cwd")]
"""Relative to the `cwd` beside it."""


class ConfigModel(BaseModel):
    """Base of everything a user writes in a file: frozen, strict, unknown keys refused. Never holds state."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    expand_environment: ClassVar[bool] = False
    """``${VAR}`` in its texts stands for a variable of the environment, and its fields may be secrets."""


class ConnectionModel(ConfigModel):
    """Base of what connects us with others: all sources and channels."""

    expand_environment: ClassVar[bool] = True


OnError = Literal["escalate", "continue", "stop"]


class Sample(NamedTuple):
    """One float of one series. `labels` come without ``source``: whoever keeps the sample adds that."""

    name: str
    labels: Labels
    t: Millis
    v: float


Severity = Literal["info", "warn", "crit"]
SEVERITY_RANK: dict[Severity, int] = {"info": 0, "warn": 1, "crit": 2}
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
    """`nodata` of a label set that has no value although others have; `ok` of what stood for all of them while there were none."""
    target: str = ""
    """Whose rule it is: one rule may speak for several targets."""
    max_age: Millis = 0
    """How old what was read may be and still be believed."""


MAX_TITLE_CHARACTERS = 280
MAX_LINE_CHARACTERS = 800
"""Of a message: nobody fills one by the length of a name."""


@dataclass(frozen=True, slots=True)
class Button:
    """An answer that is offered under a message."""

    text: str
    answer: str
    """What pressing it says, in the words of a command: ``ack 17``. At most 60 bytes, ASCII; numbers of the journal and no
    names."""
    style: Literal["", "primary", "danger"] = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture that belongs to a message, as what is to be drawn: it is drawn when the message goes out."""

    kpi: str
    target: str
    labels: Labels = ()
    incident: int | None = None
    """Its trips and levels are marked."""
    span: Millis = 3_600_000
    until: Millis = 0
    """Wall time; the last moment that is drawn."""


class Fact(NamedTuple):
    """What a message says, as far as it can be counted: what several messages say is put together by these."""

    target: str
    """Empty: several."""
    what: str
    """``loss tripped``: the same words wherever it is the same."""
    severity: Severity
    number: int = 1
    """Label sets, or targets."""
    worst: str = ""
    """The worst of them, on one line."""
    excess: float = 0.0
    """How far beyond the limit that is."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is bad, as a state: for channels to which that is told and not messages."""

    labels: Labels
    """Which it is: the same for as long as it lasts."""
    annotations: Labels
    starts: Millis | None = None
    """None: just now."""
    ends: Millis | None = None
    """When it was over; None: it is not."""


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told, the same value from the decision to the channel. `title` and each of `lines` are one line of
    plain text that is seen whole, whatever went into it (`core.text`): markup is each notifier's business."""

    severity: Severity
    title: str
    lines: tuple[str, ...] = ()
    incident: int | None = None
    """Messages of one incident belong in one thread."""
    channels: tuple[str, ...] | None = None
    """Who is told, by the names of the configuration; None: everybody."""
    filter_severity: Severity | None = None
    """What a channel's `from` is compared with where it is more than `severity`: who was told of a trip is told of its end."""
    opens: tuple[str, ...] = ()
    """What is bad by it, or was not done: whoever is told of it is told how it ended. Names of `journal.topics`."""
    ends: tuple[str, ...] = ()
    """What is over by it: told to all who were told of it; and to others only when `filter_severity` is said."""
    urgent: bool = False
    """Goes with what is critical, though it is not: it ends what is, and would else come behind what follows from that."""
    broadcast: bool = False
    """Shown in the channel itself, and not only in its thread."""
    key: str = ""
    """Identifies the message on its channel, once it is in the journal; a repeated send carries the same key."""
    thread: str | None = None
    """What `send` returned for the incident's first message on this channel; None when this is the first."""
    buttons: tuple[Button, ...] = ()
    """What may be answered, where the channel takes answers."""
    chart: Chart | None = None
    """What is drawn beside it, where the channel shows pictures and they can be drawn."""
    picture: bytes | None = None
    """The chart, drawn (PNG), once the message goes out."""
    about: tuple[str, ...] | None = None
    """Of the message that begins an incident on a channel: what of its lines stays, where that can be edited, below what is
    so now. None: it begins none."""
    alerts: tuple[Alert, ...] | None = None
    """What of its subject is so once the message goes out, for a channel that is told states; None: nobody knows, the message
    itself is told."""
    target: str = ""
    """Whom it is about, where it belongs to no incident: channels that are not told of that target do not hear it."""
    facts: tuple[Fact, ...] = ()
    """What it says, to be counted with what others say; a message without is known by its title."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", shorten(self.title, MAX_TITLE_CHARACTERS))
        object.__setattr__(self, "lines", tuple(shorten(line, MAX_LINE_CHARACTERS) for line in self.lines))
        if self.about is not None:
            object.__setattr__(self, "about", tuple(shorten(line, MAX_LINE_CHARACTERS) for line in self.about))


NotifyFunction = Callable[[Message], None]
"""Tells people, by way of the journal: part of the transaction that is under way, if one is."""


class Uncounted(NamedTuple):
    """What of the time that went by on the clock counts for nothing, all in all; ms."""

    steps: Millis = 0
    """The clock was set: times that are kept move along."""
    standstill: Millis = 0
    """Nobody watched: what is waited for comes so much later."""

    @property
    def total(self) -> Millis:
        return self.steps + self.standstill

    def since(self, before: Uncounted) -> Uncounted:
        """What has come to it."""
        return Uncounted(self.steps - before.steps, self.standstill - before.standstill)
