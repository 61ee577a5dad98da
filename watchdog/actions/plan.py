"""Plans as people write them: a halt makes the bot safe, a repair is the rollback ladder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from watchdog.actions import Action
from watchdog.model import Duration, Part, Seq


class Verify(Part):
    """Evidence, gathered after the change. Keys that a level does not say come from its plan."""

    settle: Duration = 0
    """How long the bot is left alone after the last step before anything is judged."""
    that: Seq[str] = ()
    """PromQL conditions that must be true."""
    run: Seq[str] = ()
    """A command that must end with exit code 0."""
    quiet: Duration = 0
    """How long everything must have been well."""
    give_up: Duration = 15 * 60_000
    """Without proof or disproof by then, the answer is unknown and the plan is exhausted."""
    watch: Duration = 0
    """After proof: a rule that trips again within it goes on at the next level."""


class Level(Part):
    """A rung of the ladder."""

    name: str
    steps: Annotated[Seq[Action], Field(min_length=1)]
    verify: Verify | None = None


class Halt(Part):
    """Makes it safe. Nothing refuses it, and it latches the target until a person says resume."""

    kind: Literal["halt"]
    levels: Annotated[Seq[Level], Field(min_length=1)]
    verify: Verify = Verify(give_up=30_000)

    @model_validator(mode="after")
    def _provable(self) -> Halt:
        for level in self.levels:
            if not verify_of(self, level).that and not verify_of(self, level).run:
                raise ValueError(f"level {level.name} has no verify: a halt is proven by that: or run: alone")
            if any(step.on_error == "stop" for step in level.steps):
                raise ValueError(f"level {level.name} says on_error: stop: a halt does not stop half-way — "
                                 "say escalate or continue")  # fmt: skip
        return self


class Repair(Part):
    """The rollback ladder: each level is verified, and the next one tried when it did not help."""

    kind: Literal["repair"]
    mode: Literal["auto", "dry-run"]
    """`dry-run` journals and tells what would be done and changes nothing. Always said, never assumed."""
    exhausted: str
    """What happens when no level helped: the name of a halt plan, or `leave-running`."""
    before: Seq[Action] = ()
    """Steps ahead of the first level, such as: stop opening positions while repairing."""
    proven: Seq[Action] = ()
    """Steps once a level has helped, such as: open positions again."""
    verify: Verify = Verify()
    levels: Annotated[Seq[Level], Field(min_length=1)]
    latch: Literal["on_failure", "always", "never"] = "on_failure"

    @model_validator(mode="after")
    def _quiet_is_said(self) -> Repair:
        for level in self.levels:
            if not verify_of(self, level).quiet:
                raise ValueError(f"level {level.name} has no quiet: say how long all must be well, such as quiet: 5m")
        return self


Plan = Annotated[Halt | Repair, Field(discriminator="kind")]


def verify_of(plan: Halt | Repair, level: Level) -> Verify:
    """The level's verify over its plan's: what the level says wins, key by key."""
    if level.verify is None:
        return plan.verify
    said = {name: getattr(level.verify, name) for name in level.verify.model_fields_set}
    return plan.verify.model_copy(update=said)


_PLAN: TypeAdapter[Halt | Repair] = TypeAdapter(Plan)


def write_plan(plan: Halt | Repair) -> str:
    """A plan for the journal: only what was said, since what a level does not say comes from its plan."""
    return plan.model_dump_json(by_alias=True, exclude_unset=True)


def read_plan(text: str) -> Halt | Repair:
    """A plan as the journal keeps it (JSON)."""
    return _PLAN.validate_json(text)


def steps_of(plan: Halt | Repair, phase: str, level: int) -> tuple[Action, ...]:
    """The steps of one row: `before`, `proven`, or a `level`."""
    return plan.levels[level].steps if phase == "level" else getattr(plan, phase, ())
