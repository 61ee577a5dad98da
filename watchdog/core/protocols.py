"""What a source, an action and a channel must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from watchdog.core.errors import ActionError
from watchdog.core.model import Alert, JsonObject, Message, Millis, OnError, Sample, Severity
from watchdog.core.target import Target

SourceState = dict[str, Any]
"""What of a source survives a restart: JSON, saved together with the samples that it stands for (offsets, counts)."""

SourceCache = dict[str, Any]
"""What of a source may be thrown away between any two reads (sockets, parsers, the last figures)."""

StepState = Literal["before", "after", "stopped", "other", "unknown"]
"""What the world says of a step: see `Action.state`."""

FindingKind = Literal["missing", "missing now", "unfit", "not deployed", "not part", "stands for", "unreadable"]
"""`missing`: it is not there; `missing now`: neither, and it comes and goes by itself, as a backup does; `unfit`: it is there,
and the step can never be done so; `not deployed`: it is there, and nothing of it is part of what runs, so there is nothing to take
back; `not part`: it is no part of what runs, but changes of it may be, and nobody can tell how to take them back; `stands for`: it
is no part of what runs, and what has its changes is, which is taken back in its place; `unreadable`: it may not be looked at, and
nobody knows."""

NoopReason = Literal["so already", "not deployed now"]


class Source(Protocol):
    """Where samples come from. A model that holds nothing itself: see `PulledSource` and `PushedSource`."""

    @property
    def every(self) -> Millis:
        """From one set of samples to the next, as a rule."""
        ...

    @property
    def deadline(self) -> Millis:
        """How long nobody is worried: about a read that has not ended, about a receiver that has delivered nothing."""
        ...

    @property
    def identity(self) -> str:
        """What it looks at, without secrets. State that was kept of another identity is not handed to it."""
        ...


@runtime_checkable
class PulledSource(Source, Protocol):
    """One that is asked. Runs in a thread, one read at a time; raises SourceError only."""

    reads_needed: ClassVar[int]
    """After how many reads all its series are there: 2 where some are differences."""

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> Iterable[Sample]:
        """All its series as they are now. `state` is a copy: what is left in it counts once the samples are kept, and
        not when the read fails or comes too late. `cache` is the same at each read of one run."""
        ...


class Receiver(Protocol):
    """What listens. It has its own threads."""

    def shift_times(self, step: Millis) -> None:
        """The clock was set by `step` ms: times that are kept move along."""

    def close(self) -> None:
        """Gives everything back, so that another can be opened in its place. Blocks; called once."""
        ...


Deliver = Callable[[Sequence[Sample], SourceState], int]
"""Takes all series of a source as they are now (one that is missing is gone), and the state that stands for them and
for everything before. From any thread, at any time, also from within `receive`; returns at once, and says how many of its
deliveries wait to be judged (256 at most). They are judged on arrival; where they come faster than that for long, the oldest
are passed over. What was delivered by the end of `close` counts, what comes later does not. A sample that is not newer than the
last one of its series says nothing new and is dropped."""


@runtime_checkable
class PushedSource(Source, Protocol):
    """One that is told: a push, a heartbeat, StatsD. It is up from a delivery on, until `deadline` goes by without one."""

    def receive(self, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> Receiver:
        """Begins to listen, and comes back. Runs in a thread; raises SourceError only, and is tried again then.

        `name`: what the source is called in the configuration, for what is addressed by it. `state`: what was delivered
        last, or empty. `clock`: the time of the samples.
        """
        ...


class Match(NamedTuple):
    """What one expression of a source's entry found in what was read; for people who write such an entry."""

    key: str
    """Where in the entry it stands: ``values.equity``."""
    expression: str
    found: tuple[str, ...]
    """A few of the things that it matched, newest first, as they stand there. Empty: nothing."""
    nearest: tuple[str, ...] = ()
    """Where it matched nothing: what comes nearest to it (names, lines)."""
    why: str = ""
    """Where it matched and says nothing all the same: ``no number``."""

    def map_texts(self, change: Callable[[str], str]) -> Match:
        """The same, with what was read changed so."""
        return self._replace(
            found=tuple(map(change, self.found)), nearest=tuple(map(change, self.nearest)), why=change(self.why)
        )


@runtime_checkable
class ExplainedSource(Source, Protocol):
    """One whose entry holds expressions."""

    def explain(self, now: Millis) -> Sequence[Match]:
        """Looks once, beside all reads and without their state: what each expression matches at the moment. In a thread;
        raises SourceError only."""
        ...


class CompletedStep(NamedTuple):
    """A step that this incident has already done: git needs to know which edits in the tree are ours."""

    action: Action
    before: JsonObject
    in_force: bool
    """True when the edit must outlive the next steps (a plan's `before:` rows)."""


class CommitRange(NamedTuple):
    """What a step, or an incident, committed to one git work tree."""

    repo: str
    """Full path of the work tree."""
    old: str
    """HEAD ahead of it, and HEAD that it left; full object ids."""
    new: str


class LastingChange(NamedTuple):
    """One thing that a step left other than it was, until a plan, an undo or a person puts it back."""

    thing: str
    """What was changed, under the name that every step gives it which changes it."""
    how: str | None
    """What it is since, in a word: ``off``, ``stopped``, ``masked``, ``reverted``. None: it is at work, and nothing is missed."""
    what: str
    """The thing, for people: ``GLOBAL_TRADING``."""
    was: str | None = None
    """How it was ahead of the step: a text that is compared with those of other steps. None: nobody knows."""
    by_hand: str | None = None
    """What a person does to put it back, in words or as a command. None: that depends on what it was."""


class Finding(NamedTuple):
    """What a look says of one thing that a step names."""

    kind: FindingKind
    key: tuple[str | int, ...]
    """Where in the step it is named: ``("set", "FEATURE_X")``."""
    what: str
    cure: str = ""

    @classmethod
    def of(cls, kind: FindingKind, key: tuple[str | int, ...], error: ActionError) -> Finding:
        what, _, cure = str(error).partition(" — ")
        return cls(kind, key, what, cure)


class ProgramCall(NamedTuple):
    """A program as a file of ours names it."""

    argv: tuple[str, ...]
    key: str
    """Under which key of the step it stands."""
    cwd: str | None = None
    env: Mapping[str, str] | None = None
    """Set for it beside what every program gets."""
    inherit: tuple[str, ...] = ()
    """Variables of our own environment that it gets."""


class NeededFiles(NamedTuple):
    """All that something which deals with files alone looks at and changes, as the watchdog's files name it."""

    paths: tuple[Path, ...]
    """Full paths of files and folders that are replaced, or made: the folder that each lies in is written."""
    repo: str | None = None
    """Full path of a git work tree of its own; None: the target's."""
    remote: str | None = None
    """Whereto git pushes."""


@runtime_checkable
class OwnedSource(Source, Protocol):
    """One that may be read by somebody else than us: who its files belong to, or as whom its program is run."""

    def owner(self) -> Target:
        """Who that is; `Target()`: we. Raises ActionError, or FileNotFoundError, when that cannot be told."""
        ...


@runtime_checkable
class TargetedSource(Source, Protocol):
    """One that knows more of what it looks at where that is a target's."""

    def bind(self, targets: Iterable[Target]) -> Source:
        """The same source with what the target says, when one is meant."""
        ...


@runtime_checkable
class ProgramSource(OwnedSource, Protocol):
    """One that runs what its entry names."""

    def programs(self) -> tuple[ProgramCall, ...]:
        """Who may write them is looked at ahead of the first run."""
        ...


class Copies(Protocol):
    """What a plan is rehearsed on. The originals are only read. Raises ActionError when something cannot be copied."""

    def file(self, path: Path) -> Path:
        """Where the copy of a file or folder is; also of one that is not there, and would be made."""
        ...

    def work_tree(self, path: Path) -> Path:
        """Where that folder is in the copy of the git work tree that it belongs to."""
        ...


class Action(Protocol):
    """A change to the world. Runs in a thread; raises ActionError only.

    `core.model.ActionModel` answers for an action that is nothing special: all but `describe` and `apply`.
    """

    @property
    def timeout(self) -> Millis:
        """What `apply` may take."""
        ...

    @property
    def retries(self) -> int: ...

    @property
    def retry_after(self) -> Millis: ...

    @property
    def on_error(self) -> OnError: ...

    @property
    def persistent(self) -> bool:
        """What it did stays until somebody changes it (a file, a commit): if it is otherwise later, that was not us."""
        ...

    @property
    def runs_as_owner(self) -> bool:
        """It is carried out by the target's owner, where the bot is; False: by the watchdog itself, which only asks others."""
        ...

    @property
    def input_file(self) -> Path | None:
        """A file of the watchdog's own that `apply` reads: its owner is handed the bytes. None: there is none."""
        ...

    def with_input_file(self, path: Path) -> Action:
        """The same action, which reads that copy of its input file."""
        ...

    @property
    def repeatable(self) -> bool:
        """Done once more when its stage is taken back, as a restart is; what it changed in files is put back anyway."""
        ...

    @property
    def halt_only(self) -> bool:
        """It keeps the bot from being started again: a repair must not."""
        ...

    @property
    def stops_bot(self) -> bool:
        """A unit or process does not run after it: whatever starts it again undoes this."""
        ...

    @property
    def unit_operations(self) -> tuple[tuple[str, str], ...]:
        """(verb, unit) of each thing that it may ask systemd for, once bound: what a watchdog that is not root must be allowed."""
        ...

    def bind(self, target: Target) -> Action:
        """The same action with the target's repository, unit and process filled in."""
        ...

    def describe(self) -> str:
        """The change in a few words: ``set FEATURE_HMM_V2 = false in config.py``."""
        ...

    def programs(self) -> tuple[ProgramCall, ...]:
        """What a person named to be run by it, once it is bound; none: it runs nothing but what is part of it."""
        ...

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles | None:
        """Where it stays, once it is bound; None: it deals with more than files, or starts what a person named.

        `captured`: what it noted, when it has.
        """
        ...

    def value_edits(self) -> Mapping[Path, Mapping[str, Any]]:
        """Full path of each file in which it sets single values, and leaves the rest as it is: those values by name."""
        ...

    def findings(self) -> tuple[Finding, ...]:
        """What of that which it names is not there, or never fits, once it is bound; the state of today (edits in the way, a
        merge under way) is not looked at. Read-only."""
        ...

    def redirect(self, copies: Copies) -> Action | None:
        """The same action on copies, to be rehearsed; None: it touches more than files, and cannot be."""
        ...

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:
        """What is so now. Read-only; journalled with `started`, ahead of the act."""
        ...

    def rehearse(self, captured: JsonObject) -> None:
        """Tries what `apply` would do, as far as that changes nothing: whether its files could be replaced, and the disk has room.
        Raises ActionError, with the cure, when it would fail now."""
        ...

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        """Absolute paths of the files and folders that `apply` will change, for a backup ahead of it; none: no files."""
        ...

    def preview(self, captured: JsonObject) -> str:
        """Exactly what `apply` would change: a unified diff of files, else one line. Empty: nothing. Touches nothing."""
        ...

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:
        """Make it so; return one line for people. `idempotency_key` is the same for every try of this step.

        `incident`: what tripped, for actions that hand it on. Its strings come from the data: never words of a command.
        """
        ...

    def state(self, captured: JsonObject) -> StepState:
        """`after`: it is so; `before`: nothing happened yet; `stopped`: what it started ended in good order since, by
        somebody's hand or of its own; `other`: changed by others; `unknown`: cannot tell."""
        ...

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:
        """What it leaves behind that people have to know of until it is put back; none: it leaves nothing of the kind.

        `captured`: what it noted, when it has; else what it would touch, as far as that is known. Looks at nothing.
        """
        ...

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        """What the world says of each of them, in that order: `before`: it is as ahead of the step; `after`: as the step left
        it; `other`: somebody made something else of it since. Raises ActionError when it cannot be looked at."""
        ...

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        """What of that which it has made so, or found so, is other by now: the thing, as `lasting_changes` names it → what is
        so instead, for people. Looked at anew by the names that the plan has, since a link on the way may lead elsewhere by now.
        Empty: all of it is so, or nobody can say what should be. Raises ActionError when it cannot be looked at."""
        ...

    def noop_reason(self, captured: JsonObject) -> NoopReason:
        """Why there is nothing to do, when `state` says `after` of what was just captured."""
        ...

    def commit_range(self, captured: JsonObject) -> CommitRange | None:
        """The commit that `apply` makes; None: none."""
        ...


class Notifier(Protocol):
    """Tells people. `send` may be a coroutine where the client library is; raises NotifyError only.

    Returns a handle for the thread (a Slack ts, a Telegram message id), or None. One that delivers, and yet has something to be put
    right in its configuration, may say so in a property `notice`: "what happened — the cure", or None.
    """

    @property
    def from_(self) -> Severity: ...

    def send(self, message: Message) -> Any: ...


@runtime_checkable
class AlertingNotifier(Notifier, Protocol):
    """Is told states, again and again while they last. `send` tells `Message.alerts`, or the message where there are none."""

    @property
    def resend(self) -> Millis:
        """Until all that is so is told once more."""
        ...

    def publish(self, alerts: Sequence[Alert]) -> None:
        """These are so. Telling it twice changes nothing. Runs in a thread; raises NotifyError only."""
        ...
