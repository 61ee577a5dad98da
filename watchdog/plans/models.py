"""Plans as people write them: a halt makes the bot safe, a repair is the rollback ladder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, field_validator, model_validator

from watchdog.actions import AnyAction
from watchdog.core.model import ConfigModel, Duration, FrozenList, Regex, RepoPath, VariableName
from watchdog.core.protocols import Action
from watchdog.net.address import redact_url, validate_url


class HttpCheck(ConfigModel):
    """A page that must answer as said."""

    url: str
    """Asked with GET, again and again until it answers as it should."""
    expect: Annotated[int, Field(ge=100, le=599)] = 200
    """The status it must answer with."""
    body: Regex | None = None
    """A regular expression that must be found in the answer."""
    timeout: Duration = 5_000
    """For one try."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: str) -> str:
        return validate_url(url, "http://127.0.0.1:8080/health")

    def describe(self) -> str:
        found = "" if self.body is None else f" with /{self.body}/"
        return f"{redact_url(self.url)} answers {self.expect}{found}"


class LogCheck(ConfigModel):
    """Lines of a log file that must not, or must, have been written since the level's last step."""

    file: RepoPath
    """The log, relative to the target's repo."""
    absent: Regex | None = None
    """A regular expression; a line with it, written after the last step, disproves the level."""
    present: Regex | None = None
    """A regular expression; a line with it must have been written since the last step began."""

    @model_validator(mode="after")
    def _validate_not_empty(self) -> LogCheck:
        if self.absent is None and self.present is None:
            raise ValueError("say absent: or present:, or both")
        return self

    def describe(self) -> str:
        return f"{self.file} says /{self.present}/" if self.present else f"{self.file} can be read"


class Verify(ConfigModel):
    """Evidence, gathered after the change. Keys that a level does not say come from its plan."""

    settle: Duration = 0
    """How long the bot is left alone after the last step before anything is judged."""
    that: FrozenList[str] = ()
    """PromQL conditions that must be true."""
    run: FrozenList[str] = ()
    """A command that must end with exit code 0."""
    inherit: FrozenList[VariableName] = ()
    """Names of variables that `run` gets from the watchdog's own environment, which it does not see otherwise."""
    rules: FrozenList[str] = ()
    """Rules that must be quiet, beside those that tripped."""
    http: HttpCheck | None = None
    """A page that must answer as said."""
    log: LogCheck | None = None
    """Lines of a log that must be absent or present."""
    quiet: Duration = 0
    """How long everything must have been well."""
    give_up: Duration = 15 * 60_000
    """Without proof or disproof by then, the answer is unknown and the plan is exhausted."""
    watch: Duration = 0
    """After proof: a rule that trips again within it goes on at the next level."""


class Level(ConfigModel):
    """A rung of the ladder."""

    name: str
    """Unique in its plan; the journal and people call it so."""
    steps: Annotated[FrozenList[AnyAction], Field(min_length=1)]
    """Changes to the world, one after the other."""
    verify: Verify | None = None
    """What differs from the plan's own `verify`."""


class Halt(ConfigModel):
    """Makes it safe. Nothing refuses it, and it latches the target until a person says resume."""

    kind: Literal["halt"]
    levels: Annotated[FrozenList[Level], Field(min_length=1)]
    """Carried out in this order, whatever becomes of the one before."""
    verify: Verify = Verify(give_up=30_000)
    """How each level is proven."""
    after: Literal["repair"] | None = None
    """`repair`: behind it a repair of the target goes on, or begins within `repair_within`, while what it has switched
    off stays off. When not said, it overtakes repairs for good."""
    repair_within: Duration = 60 * 60_000
    """With `after: repair`: so long after it is proven a repair may still begin."""
    keep: bool = False
    """What it has made safe is put back when somebody undoes it while the target is latched, three times an hour at most. When
    not said, people are told."""
    recover: FrozenList[Level] = ()
    """The way back to work, stage by stage, after a person has said resume."""

    @model_validator(mode="after")
    def _validate_stages(self) -> Halt:
        return _refuse_all(self, _unquiet_stages(self))

    @model_validator(mode="after")
    def _validate_after(self) -> Halt:
        if self.after is None and "repair_within" in self.model_fields_set:
            raise ValueError("repair_within goes with after: repair")
        for level in self.levels:
            for step in level.steps:
                if self.after is not None and step.stops_bot:
                    raise ValueError(
                        f"level {level.name}: {step.describe()} and after: repair do not go together, since a repair"
                        " starts the bot again — switch its entries off instead, or leave after: out"
                    )
        return self

    @model_validator(mode="after")
    def _validate_provable(self) -> Halt:
        wrong = []
        for level in self.levels:
            if not any(_said(self, level, key) for key in ("that", "run", "http", "log")):
                wrong.append(f"level {level.name} has no verify: a halt is proven by that:, run:, http: or log: alone")
            if any(step.on_error == "stop" for step in level.steps):
                wrong.append(
                    f"level {level.name} says on_error: stop: a halt does not stop half-way — say escalate or continue"
                )
        return _refuse_all(self, wrong)


class Repair(ConfigModel):
    """The rollback ladder: each level is verified, and the next one tried when it did not help."""

    kind: Literal["repair"]
    mode: Literal["auto", "approve", "dry-run"]
    """`approve` waits for a person; `dry-run` journals and tells what would be done and changes nothing. Always said,
    never assumed."""
    approve_within: Duration = 15 * 60_000
    """`mode: approve`: so long it waits; without an answer the plan is exhausted."""
    two_people: bool = False
    """What a person asks of it in a chat (to run it, to approve it, to go on with its next level) wants a second, different person
    who may `act`. The command line, which is for whoever has the machine, does not."""
    disturbs: FrozenList[str] = ()
    """Rules that the plan itself makes trip: not judged while it works. Never one whose plan is a halt."""
    exhausted: str
    """What happens when no level helped: the name of a halt plan, or `leave-running`."""
    before: FrozenList[AnyAction] = ()
    """Steps ahead of the first level, such as: stop opening positions while repairing."""
    proven: FrozenList[AnyAction] = ()
    """Steps once a level has helped, such as: open positions again."""
    verify: Verify = Verify()
    """How each level is proven; a level's own `verify` wins key by key."""
    levels: Annotated[FrozenList[Level], Field(min_length=1)]
    """From the mildest to the strongest: the next one is tried when one did not help."""
    latch: Literal["on_failure", "always", "never"] = "on_failure"
    """When repairs stay refused until a person says `resume`."""
    recover: FrozenList[Level] = ()
    """The way back to work, stage by stage, after `proven`; and after a person has said resume."""

    def rules_to_prove(self) -> set[str]:
        """The rules that some level names to be proven by."""
        return {rule for level in self.levels for rule in effective_verify(self, level).rules}

    @model_validator(mode="after")
    def _validate_no_mask(self) -> Repair:
        steps = (*self.before, *self.proven, *(step for level in self.levels for step in level.steps))
        return _refuse_all(
            self,
            [
                f"{step.describe()} is for halts: a repair has to start the bot again"
                for step in steps
                if step.halt_only
            ],
        )

    @model_validator(mode="after")
    def _validate_quiet(self) -> Repair:
        wrong = [
            f"level {level.name} has no quiet: say how long all must be well, such as quiet: 5m"
            for level in self.levels
            if not _said(self, level, "quiet")
        ]
        return _refuse_all(self, _unquiet_stages(self) + wrong)


def _unquiet_stages(plan: Halt | Repair) -> list[str]:
    return [
        f"stage {stage.name} has no quiet: say how long all must be well, such as quiet: 10m"
        for stage in plan.recover
        if not _said(plan, stage, "quiet")
    ]


AnyPlan = TypeVar("AnyPlan", "Halt", "Repair")


def _refuse_all(plan: AnyPlan, wrong: list[str]) -> AnyPlan:
    """The plan. Raises ValueError with all that is wrong, a line each: one mistake hides no other."""
    if wrong:
        raise ValueError("\n".join(wrong))
    return plan


Plan = Annotated[Halt | Repair, Field(discriminator="kind")]


def kind_and_name(kind: str, name: str) -> str:
    """``halt freeze``; ``halt`` where the plan is called as what it is."""
    return name if name == kind else f"{kind} {name}"


def name_and_kind(name: str, kind: str) -> str:
    """``freeze (halt)``; ``halt`` where the plan is called as what it is."""
    return name if name == kind else f"{name} ({kind})"


def effective_verify(plan: Halt | Repair, level: Level) -> Verify:
    """The level's verify over its plan's: what the level says wins, key by key."""
    if level.verify is None:
        return plan.verify
    said = {name: getattr(level.verify, name) for name in level.verify.model_fields_set}
    return plan.verify.model_copy(update=said)


def _said(plan: Halt | Repair, level: Level, key: str) -> object:
    """One key of it. True for what was refused: it was said, though not well."""
    if not hasattr(level, "verify"):
        return True
    own = level.verify
    return getattr(own if own is not None and key in own.model_fields_set else plan.verify, key, True)


_PLAN_ADAPTER: TypeAdapter[Halt | Repair] = TypeAdapter(Plan)


def serialize_plan(plan: Halt | Repair) -> str:
    """A plan for the journal: only what was said, since what a level does not say comes from its plan."""
    return plan.model_dump_json(by_alias=True, exclude_unset=True)


def parse_plan(text: str) -> Halt | Repair:
    """A plan as the journal keeps it (JSON)."""
    return _PLAN_ADAPTER.validate_json(text)


def phase_steps(plan: Halt | Repair, phase: str, level: int) -> tuple[Action, ...]:
    """The steps of one row: `before`, `proven`, a `level`, or a stage to `recover`, counted on after each level."""
    if phase == "recover":
        return plan.recover[level % len(plan.recover)].steps
    return plan.levels[level].steps if phase == "level" else getattr(plan, phase, ())


def all_steps(plan: Halt | Repair) -> Iterator[Action]:
    """Every step that a plan may do: ahead of its levels, in them, after proof, and on the way back to work."""
    before, proven = (plan.before, plan.proven) if isinstance(plan, Repair) else ((), ())
    yield from before
    for level in (*plan.levels, *plan.recover):
        yield from level.steps
    yield from proven
