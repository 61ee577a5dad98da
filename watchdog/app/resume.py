"""A person resumes a target: its latch opens, what still is off is said, and the way back to work starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from watchdog.core.model import Millis
from watchdog.documents.problems import unknown_name
from watchdog.journal.storage import Journal
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rollback.recover_stages import find_way_back
from watchdog.rollback.standing import StandingChange, cure_by, describe_standing


def resume_target(
    pipeline: Pipeline,
    journal: Journal,
    standing_of: Callable[[str], Sequence[StandingChange]],
    target: str,
    who: str,
    now: Millis,
) -> tuple[bool, str]:
    """(granted, what to tell the person). Refused while the bot cannot be seen or a plan is at work.

    `standing_of`: (target) → what plans have left so there.
    """
    unconfigured = next((one.name for one in journal.targets.list_latched() if one.name == target), None)
    if target not in pipeline.config.targets and unconfigured is None:
        return False, unknown_name("target", target, pipeline.config.targets)
    latched = journal.targets.get_state(target, now).latched is not None
    # A repair that has helped behind a halt only watches: a person need not wait for the end of that.
    unfinished = journal.runs.list_unfinished(target)
    at_work = [run for run in unfinished if not (latched and run.status == "watching")]
    if at_work:
        return False, f"plan {at_work[0].plan} is at work on {target}: wait for its end"
    config, standing = pipeline.config, standing_of(target)
    way_back = find_way_back(journal, config.plan, target, now) if target in config.targets else None
    plan, stages = ("", ()) if way_back is None else way_back
    cure = cure_by(
        f"{plan} puts it back, stage by stage",
        [step for stage in stages for step in stage.steps],
        config.targets.get(target),
    )
    # What a plan has stopped is not seen, and has its way back all the same: its stages prove what they start.
    starts = any(one.how == "stopped" and cure(one) != one.by_hand for one in standing)
    if not starts and (stale := pipeline.find_stale_rule(target, now)):
        return False, (
            f"not while data is stale: {stale} — bring it back; a rule on what may be absent says "
            "if_missing: {after: 2m, then: ok}"
        )
    still = [f"still {line}" for line in describe_standing((one for one in standing if not one.unseen), cure)]
    still += describe_standing((one for one in standing if one.unseen), cure)
    pipeline.resume(target, who, now, still)
    if target not in config.targets:
        return True, "; ".join([f"{target} resumed; it is no longer configured", *still])
    if way_back is None:
        return True, "; ".join([f"{target} resumed; its rules are judged anew", *still])
    count = "1 stage" if len(stages) == 1 else f"{len(stages)} stages"
    with journal.transaction() as tx:
        run = pipeline.incident_manager.queue_run(tx, target, plan, f"person {who}", now, incident=None, part="recover")
    return True, "; ".join([f"{target} resumed; {plan} goes back to work in {count} (run {run})", *still])
