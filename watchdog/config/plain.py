"""What a rule does, in one paragraph of plain English, with everything that is not said in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from watchdog.actions import Action
from watchdog.actions.plan import Halt, Level, Repair, verify_of
from watchdog.config.latency import Delay, delays
from watchdog.config.shape import Config
from watchdog.promql import PromqlError, can_be_many, parse, windows
from watchdog.promql.nodes import LOOKBACK
from watchdog.rules import Check, Kpi, Learn, Rule
from watchdog.units import is_relative, show, show_duration


def describe(config: Config, name: str) -> str:
    """The paragraph for one rule. Raises KeyError when there is none of that name."""
    rule = config.rules[name]
    kpi = config.kpis.get(rule.kpi or "")
    checks = {check.level: check for check in config.checks if check.rule == name}
    late = {delay.level: delay for delay in delays(config) if delay.rule == name}
    sentences = [_watches(rule, kpi)]
    for level in ("warn", "crit"):
        if level in checks:
            sentences += _level(config, rule, kpi, checks[level], late[level])
    if rule.crit is not None and rule.crit.plan in config.plans:
        sentences += _plan(config, rule.crit.plan or "", config.plans[rule.crit.plan or ""], rule.target)
    sentences += [*_evidence(rule, kpi), _missing(rule), *_sleep(rule), *_labels(rule, kpi), _told(config, rule)]
    if rule.runbook:
        sentences.append(f"What a person does then stands at {rule.runbook}")
    return " ".join(f"{sentence}." for sentence in sentences)


def _watches(rule: Rule, kpi: Kpi | None) -> str:
    if kpi is None:
        return f"{rule.name} watches {rule.target}"
    about = f" ({kpi.help.rstrip('.')})" if kpi.help else ""
    return f"{rule.name} watches {rule.kpi} of {rule.target}{about}: {' '.join(kpi.expr.split())}"


_BAD = {
    "above": "above {}",
    "below": "below {}",
    "at_least": "{} or more",
    "at_most": "{} or less",
    "equals": "exactly {}",
}
_WELL = {
    "above": "{} or less",
    "below": "{} or more",
    "at_least": "below {}",
    "at_most": "above {}",
    "equals": "not {}",
}


def _level(config: Config, rule: Rule, kpi: Kpi | None, check: Check, late: Delay) -> Iterator[str]:
    threshold = rule.threshold(check.level)
    if threshold is None:
        return
    if check.operator == "expr":
        bad, well = f"when {threshold.expr} returns something", "when it returns nothing"
    else:
        bad = f"when its value is {_limit(check, kpi, threshold)}"
        well = f"when its value is {_clear(check)}"
    patience = check.patience
    how_long = (
        f" in {patience.n} of {patience.m} reads"
        if patience.m
        else f" and stays so for {show_duration(patience.hold)}"
        if patience.hold
        else ", at once"
    )
    plan = config.plans.get(check.plan or "")
    then = f"then the {plan.kind} {check.plan} starts" if plan is not None else "people are told and nothing is started"
    yield f"It is {check.level} {bad}{how_long}: {then}, {late.say()}"
    ease = f" and has been for {show_duration(check.clear_for)}" if check.clear_for else ""
    yield f"That is over {well}{ease}"


def _limit(check: Check, kpi: Kpi | None, threshold: object) -> str:
    operator = check.operator or ""
    said = getattr(threshold, operator)
    written = ", ".join(map(str, said)) if isinstance(said, tuple) else str(said)
    if check.waits is not None and check.limit != check.limit:  # nothing is known yet
        limit = _BAD[operator].format(written) if operator in _BAD else f"outside {written}"
    elif operator == "outside":
        limit = f"outside {show(check.low, check.unit)} to {show(check.limit, check.unit)}"
    else:
        limit = _BAD[operator].format(show(check.limit, check.unit))
    leans = any(is_relative(each) for each in (said if isinstance(said, tuple) else (said,)))
    ceiling = getattr(threshold, "ceiling", None)
    notes = [f"{written}, the baseline is {_baseline(check, kpi)}"] if leans else []
    notes += [f"whichever is stricter of that and {ceiling}"] if ceiling is not None else []
    return f"{limit} ({'; '.join(notes)})" if notes else limit


def _baseline(check: Check, kpi: Kpi | None) -> str:
    if kpi is not None and isinstance(kpi.baseline, Learn):
        return f"learned over {show_duration(kpi.baseline.learn)}"
    if kpi is not None and kpi.baseline == "captured":
        return "the one that was captured"
    return show(check.baseline, check.unit)


def _clear(check: Check) -> str:
    if check.operator == "outside":
        return f"within {show(check.clear_low, check.unit)} to {show(check.clear, check.unit)}"
    if check.clear != check.clear:
        return "on the good side of that again"
    return _WELL[check.operator or ""].format(show(check.clear, check.unit))


def _steps(steps: Sequence[Action]) -> str:
    return ", ".join(step.say() for step in steps)


def _plan(config: Config, name: str, plan: Halt | Repair, target: str) -> Iterator[str]:
    if isinstance(plan, Halt):
        yield f"The halt {name} is never refused: {'; '.join(_rung(plan, level) for level in plan.levels)}"
        yield f"It latches {target} until a person says resume"
        return
    if plan.mode != "auto":
        dry = f"The repair {name} is a dry run: it says what it would do and changes nothing"
        yield {"dry-run": dry, "approve": f"The repair {name} waits for a person's approval"}.get(plan.mode, plan.mode)
    before = f" first does: {_steps(plan.before)}; then it" if plan.before else ""
    yield f"The repair {name}{before} tries, until one is proven: {'; '.join(_rung(plan, level) for level in plan.levels)}"
    if plan.proven:
        yield f"Once proven: {_steps(plan.proven)}"
    yield (
        "When none helps, the bot is left running"
        if plan.exhausted == "leave-running"
        else f"When none helps, the halt {plan.exhausted} runs"
    )
    yield {
        "on_failure": f"A repair that failed latches {target} until a person says resume",
        "always": f"It latches {target} until a person says resume",
        "never": f"It never latches {target}",
    }[plan.latch]
    known = config.targets.get(target)
    if known is not None:
        budget = f", and runs {' and '.join(each.text for each in known.budget)} at most" if known.budget else ""
        cooldown, settling = show_duration(known.cooldown), show_duration(known.settling)
        yield (
            f"A repair waits until {cooldown} after the last one and {settling} after somebody else deployed or restarted "
            f"the bot{budget}"
        )


def _rung(plan: Halt | Repair, level: Level) -> str:
    verify = verify_of(plan, level)
    proof = [*verify.that, *([f"{' '.join(verify.run)} ends with 0"] if verify.run else [])]
    if isinstance(plan, Repair):
        proof.append(f"what tripped is well for {show_duration(verify.quiet)}")
    after = f", from {show_duration(verify.settle)} after" if verify.settle else ""
    watch = f", watched for {show_duration(verify.watch)}" if verify.watch else ""
    return (
        f"{level.name} ({_steps(level.steps)}; proven when {' and '.join(proof)}{after}, given up after "
        f"{show_duration(verify.give_up)}{watch})"
    )


def _evidence(rule: Rule, kpi: Kpi | None) -> Iterator[str]:
    texts = (
        [kpi.expr]
        if kpi is not None
        else [each.expr for each in (rule.warn, rule.crit) if each is not None and each.expr]
    )
    if kpi is not None and kpi.since == "resume":
        yield f"What was before the last resume of {rule.target} is forgotten"
    if kpi is not None and kpi.needs is not None:
        yield f"It is believed only while {' '.join(kpi.needs.split())}"
        return
    try:
        span = max((reach - LOOKBACK for text in texts for reach in windows(parse(text)).values()), default=0)
    except PromqlError:
        return
    if span > 0 and not (kpi is not None and kpi.since):
        yield f"It is believed once samples cover the whole {show_duration(span)} that it looks back on"


def _missing(rule: Rule) -> str:
    then = {
        "hold": "its state is held",
        "ok": "it counts as ok unless it fires",
        "warn": "that is warn",
        "crit": "that is crit",
    }[rule.if_missing.then]
    after = show_duration(rule.if_missing.after)
    return f"When there has been nothing to judge by for {after}, {then}; what fires never clears by that"


def _sleep(rule: Rule) -> Iterator[str]:
    only = rule.only
    if only is None:
        return
    said = [f"while {only.when}"] if only.when else []
    said += [f"on {', '.join(only.days)}"] if only.days else []
    said += [f"from {only.between}"] if only.between else []
    zone = f" ({only.timezone})" if only.days or only.between else ""
    yield f"It is awake only {' and '.join(said)}{zone}; else it sleeps: its state is held and its clocks stand still"


def _labels(rule: Rule, kpi: Kpi | None) -> Iterator[str]:
    gone = f"one that is gone for {show_duration(rule.forget)} is forgotten"
    if rule.each:
        yield f"Each {' and '.join(rule.each)} has a state of its own; {gone}"
        return
    try:
        if kpi is None or can_be_many(parse(kpi.expr)):
            yield f"Each set of labels has a state of its own; {gone}"
    except PromqlError:
        return


def _told(config: Config, rule: Rule) -> str:
    if rule.notify is not None and not rule.notify:
        return "Nobody is told"
    names = [name for name in config.channels if rule.notify is None or name in rule.notify]
    if not names:
        return (
            f"Told: {', '.join(rule.notify)}" if rule.notify else "It is told on every channel; none is configured here"
        )
    return f"Told: {', '.join(f'{name} (from {config.channels[name].from_})' for name in names)}"
