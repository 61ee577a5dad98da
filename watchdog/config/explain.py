"""What a rule does, in one paragraph of plain English, with everything that is not said in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from watchdog.actions import AnyAction
from watchdog.config.latency import Delay, worst_delays
from watchdog.config.models import Config
from watchdog.core.units import format_duration, format_value, is_relative
from watchdog.documents.problems import format_names
from watchdog.plans.models import Halt, Level, Repair, effective_verify, kind_and_name
from watchdog.promql import PromqlError, may_return_multiple_series, parse, required_lookback
from watchdog.rules import Check, Kpi, Learn, Rule
from watchdog.tsdb.labels import LOOKBACK_DELTA


def explain_rule(config: Config, name: str) -> str:
    """The paragraph for one rule; of one that is otherwise for some of its targets, one for each way it is.

    `RULE@TARGET`: only that one's. Raises KeyError when there is none of that name.
    """
    name, _, only = name.partition("@")
    if name not in config.rules or (only and only not in config.targets_of(name)):
        raise KeyError(name)
    delays = worst_delays(config)
    alike: dict[str, list[str]] = {}
    for target in [only] if only else config.targets_of(name):
        rule, crit = config.rule(name, target), config.rule(name, target).crit
        plan = None if crit is None else config.plan(crit.plan, target)
        known = config.targets.get(target)
        waits = None if known is None else (known.cooldown, known.settling, known.budget)
        times = [(each.level, each.describe()) for each in delays if (each.rule, each.target) == (name, target)]
        said = (rule.model_copy(update={"targets": ()}), config.kpi(rule.kpi, target), plan, waits, times)
        alike.setdefault(repr(said), []).append(target)
    paragraphs = []
    for first, *others in alike.values():
        mine = [delay for delay in delays if (delay.rule, delay.target) == (name, first)]
        text = _explain_for(config, name, first, mine)
        paragraphs.append(f"{text} The same holds for {format_names(others)}." if others else text)
    return "\n\n".join(paragraphs)


def _explain_for(config: Config, name: str, target: str, delays: Sequence[Delay]) -> str:
    rule, kpi = config.as_asked(name, target)
    checks = {check.level: check for check in config.checks if (check.rule, check.target) == (name, target)}
    delays_by_level = {delay.level: delay for delay in delays}
    sentences = [_kpi_sentence(rule, kpi)]
    for level in ("warn", "crit"):
        if level in checks:
            sentences += _threshold_sentences(config, rule, kpi, checks[level], delays_by_level[level])
    plan = None if rule.crit is None else config.plan(rule.crit.plan, target)
    if rule.crit is not None and plan is not None:
        sentences += _plan_sentences(config, rule.crit.plan or "", plan, target)
    sentences += [
        *_evidence_sentences(rule, kpi),
        _missing_sentence(rule),
        *_schedule_sentences(rule),
        *_labels_sentences(rule, kpi),
        _notified_sentence(config, rule),
    ]
    if rule.runbook:
        sentences.append(f"What a person does then stands at {rule.runbook}")
    return " ".join(f"{sentence}." for sentence in sentences)


def _kpi_sentence(rule: Rule, kpi: Kpi | None) -> str:
    if kpi is None:
        return f"{rule.name} watches {rule.target}"
    about = f" ({kpi.help.rstrip('.')})" if kpi.help else ""
    return f"{rule.name} watches {rule.kpi} of {rule.target}{about}: {' '.join(kpi.expr.split())}"


_BAD_PHRASES = {
    "above": "above {}",
    "below": "below {}",
    "at_least": "{} or more",
    "at_most": "{} or less",
    "equals": "exactly {}",
}
_OK_PHRASES = {
    "above": "{} or less",
    "below": "{} or more",
    "at_least": "below {}",
    "at_most": "above {}",
    "equals": "not {}",
}


def _threshold_sentences(config: Config, rule: Rule, kpi: Kpi | None, check: Check, delay: Delay) -> Iterator[str]:
    threshold = rule.threshold(check.level)
    if threshold is None:
        return
    if check.operator == "expr":
        bad, well = f"when {threshold.expr} returns something", "when it returns nothing"
    else:
        bad = f"when its value is {_limit_phrase(check, kpi, threshold)}"
        well = f"when its value is {_clear_phrase(check)}"
    patience = check.patience
    how_long = (
        f" in {patience.n} of {patience.m} reads"
        if patience.m
        else f" and stays so for {format_duration(patience.duration)}"
        if patience.duration
        else ", at once"
    )
    plan = config.plan(check.plan, check.target)
    then = "people are told and nothing is started"
    if plan is not None:
        then = f"then the {kind_and_name(plan.kind, check.plan or '')} starts"
    yield f"It is {check.level} {bad}{how_long}: {then}, {delay.describe()}"
    ease = f" and has been for {format_duration(check.clear_for)}" if check.clear_for else ""
    yield f"That is over {well}{ease}"


def _limit_phrase(check: Check, kpi: Kpi | None, threshold: object) -> str:
    operator = check.operator or ""
    raw_limit = getattr(threshold, operator)
    written = ", ".join(map(str, raw_limit)) if isinstance(raw_limit, tuple) else str(raw_limit)
    if check.limit_unknown is not None and check.limit != check.limit:  # nothing is known yet
        limit = _BAD_PHRASES[operator].format(written) if operator in _BAD_PHRASES else f"outside {written}"
    elif operator == "outside":
        limit = f"outside {format_value(check.low_limit, check.unit)} to {format_value(check.limit, check.unit)}"
    else:
        limit = _BAD_PHRASES[operator].format(format_value(check.limit, check.unit))
    is_relative_limit = any(is_relative(each) for each in (raw_limit if isinstance(raw_limit, tuple) else (raw_limit,)))
    ceiling = getattr(threshold, "ceiling", None)
    notes = [f"{written}, the baseline is {_baseline_phrase(check, kpi)}"] if is_relative_limit else []
    notes += [f"whichever is stricter of that and {ceiling}"] if ceiling is not None else []
    return f"{limit} ({'; '.join(notes)})" if notes else limit


def _baseline_phrase(check: Check, kpi: Kpi | None) -> str:
    if kpi is not None and isinstance(kpi.baseline, Learn):
        return f"learned over {format_duration(kpi.baseline.learn)}"
    if kpi is not None and kpi.baseline == "captured":
        return "the one that was captured"
    return format_value(check.baseline, check.unit)


def _clear_phrase(check: Check) -> str:
    if check.operator == "outside":
        return f"within {format_value(check.clear_low, check.unit)} to {format_value(check.clear, check.unit)}"
    if check.clear != check.clear:
        return "on the good side of that again"
    return _OK_PHRASES[check.operator or ""].format(format_value(check.clear, check.unit))


def _steps(steps: Sequence[AnyAction]) -> str:
    return ", ".join(step.describe() for step in steps)


def _plan_sentences(config: Config, name: str, plan: Halt | Repair, target: str) -> Iterator[str]:
    levels = "; ".join(_level_phrase(config, target, plan, level) for level in plan.levels)
    if isinstance(plan, Halt):
        yield f"The {kind_and_name('halt', name)} is never refused: {levels}"
        yield f"It latches {target} until a person says resume"
        if plan.after == "repair":
            yield (
                f"A repair of {target} that is under way, or begins within {format_duration(plan.repair_within)}, goes on "
                "behind it; what it switched off stays off"
            )
        return
    repair = kind_and_name("repair", name)
    if plan.mode != "auto":
        dry = f"The {repair} is a dry run: it says what it would do and changes nothing"
        yield {"dry-run": dry, "approve": f"The {repair} waits for a person's approval"}.get(plan.mode, plan.mode)
    before = f" first does: {_steps(plan.before)}; then it" if plan.before else ""
    yield f"The {repair}{before} tries, until one is proven: {levels}"
    if plan.proven:
        yield f"Once proven: {_steps(plan.proven)}"
    yield (
        "When none helps, the bot is left running"
        if plan.exhausted == "leave-running"
        else f"When none helps, the {kind_and_name('halt', plan.exhausted)} runs"
    )
    yield {
        "on_failure": f"A repair that failed latches {target} until a person says resume",
        "always": f"It latches {target} until a person says resume",
        "never": f"It never latches {target}",
    }[plan.latch]
    known = config.targets.get(target)
    if known is not None:
        budget = f", and runs {' and '.join(each.text for each in known.budget)} at most" if known.budget else ""
        cooldown, settling = format_duration(known.cooldown), format_duration(known.settling)
        yield (
            f"A repair waits until {cooldown} after the last one and {settling} after somebody else deployed or restarted "
            f"the bot{budget}"
        )


def _level_phrase(config: Config, target: str, plan: Halt | Repair, level: Level) -> str:
    verify = effective_verify(plan, level)
    proof = [
        *(config.expr_of(text, target) for text in verify.that),
        *([f"{' '.join(verify.run)} ends with 0"] if verify.run else []),
    ]
    if isinstance(plan, Repair):
        proof.append(f"what tripped is well for {format_duration(verify.quiet)}")
    after = f", from {format_duration(verify.settle)} after" if verify.settle else ""
    watch = f", watched for {format_duration(verify.watch)}" if verify.watch else ""
    return (
        f"{level.name} ({_steps(level.steps)}; proven when {' and '.join(proof)}{after}, given up after "
        f"{format_duration(verify.give_up)}{watch})"
    )


def _evidence_sentences(rule: Rule, kpi: Kpi | None) -> Iterator[str]:
    texts = (
        [kpi.expr]
        if kpi is not None
        else [each.expr for each in (rule.warn, rule.crit) if each is not None and each.expr]
    )
    if kpi is not None and kpi.since == "resume":
        yield f"What was before the last resume of {rule.target} is forgotten"
    if kpi is not None and kpi.born == "zero":
        yield "A counter's series that appears while its source is watched counts from 0"
    if kpi is not None and kpi.needs is not None:
        yield f"It is believed only while {' '.join(kpi.needs.split())}"
        return
    try:
        span = max(
            (reach - LOOKBACK_DELTA for text in texts for reach in required_lookback(parse(text)).values()), default=0
        )
    except PromqlError:
        return
    if span > 0 and not (kpi is not None and kpi.since):
        yield f"It is believed once samples cover the whole {format_duration(span)} that it looks back on"


def _missing_sentence(rule: Rule) -> str:
    then = {
        "hold": "its state is held",
        "ok": "it counts as ok unless it fires",
        "warn": "that is warn",
        "crit": "that is crit",
    }[rule.if_missing.then]
    after = format_duration(rule.if_missing.after)
    return f"When there has been nothing to judge by for {after}, {then}; what fires never clears by that"


def _schedule_sentences(rule: Rule) -> Iterator[str]:
    only = rule.only
    if only is None:
        return
    parts = [f"while {only.when}"] if only.when else []
    parts += [f"on {', '.join(only.days)}"] if only.days else []
    parts += [f"from {only.between}"] if only.between else []
    zone = f" ({only.timezone})" if only.days or only.between else ""
    yield f"It is awake only {' and '.join(parts)}{zone}; else it sleeps: its state is held and its clocks stand still"


def _labels_sentences(rule: Rule, kpi: Kpi | None) -> Iterator[str]:
    gone = f"one that is gone for {format_duration(rule.forget)} is forgotten"
    if rule.each:
        yield f"Each {' and '.join(rule.each)} has a state of its own; {gone}"
        return
    try:
        if kpi is None or may_return_multiple_series(parse(kpi.expr)):
            yield f"Each set of labels has a state of its own; {gone}"
    except PromqlError:
        return


def _notified_sentence(config: Config, rule: Rule) -> str:
    if rule.notify is not None and not rule.notify:
        return "Nobody is told"
    told = {
        name for target in config.targets_of(rule.name) or [""] for name in config.told_channels(target, rule.notify)
    }
    names = [name for name in config.channels if name in told]
    if not names and rule.notify:
        return f"Told: {', '.join(rule.notify)}"
    if not names:
        return "Nobody is told" if config.channels else "It is told on every channel; none is configured here"
    return f"Told: {', '.join(f'{name} (from {config.channels[name].from_})' for name in names)}"
