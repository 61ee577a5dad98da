"""Baselines that no file says, as somebody who asks about the past or tests rules gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.units import parse_quantity
from watchdog.documents.problems import unknown_name
from watchdog.journal.baselines import Baseline, BaselineKind
from watchdog.pipeline.baseline_tracker import KpiOfTarget, expression_digest, moving_baselines
from watchdog.rules import BaselineState, compile_check


def given_baselines(config: Config, values: Mapping[str, str]) -> list[Baseline]:
    """As the journal would hold them. `values`: by ``kpi``, for all targets that have it, or ``kpi@target``. WatchdogError: there
    is no such KPI, its file says its baseline, or the value is not in its unit."""
    moving = moving_baselines(config)
    found = []
    for name, text in values.items():
        kpi_name, _, target = name.partition("@")
        mine = [of for of in moving if of.kpi == kpi_name and target in ("", of.target)]
        if kpi_name not in config.kpis:
            raise WatchdogError(unknown_name("KPI", kpi_name, config.kpis))
        if not any(of.kpi == kpi_name for of in moving):
            raise WatchdogError(
                f"the baseline of {kpi_name} is neither captured nor learned — its file says what it is"
            )
        if not mine:
            raise WatchdogError(unknown_name("target", target, [of.target for of in moving if of.kpi == kpi_name]))
        for of in mine:
            kpi = moving[of]
            try:
                value = parse_quantity(text, kpi.unit)
            except ValueError as error:
                raise WatchdogError(f"baseline of {name}: {error}") from None
            kind: BaselineKind = "captured" if kpi.baseline == "captured" else "learned"
            found.append(Baseline(of.kpi, kind, expression_digest(kpi), value, 0, 1, 0, "given", None, of.target))
    return found


def with_baselines(config: Config, known: Sequence[Baseline]) -> Config:
    """The same, with limits that lean on these, as they are all the time."""
    moving = moving_baselines(config)
    states = {(each.kpi, each.target): BaselineState(each.value, "") for each in known}
    checks = []
    for check in config.checks:
        kpi = moving.get(KpiOfTarget(check.kpi, check.target))
        state = states.get((check.kpi, check.target))
        if kpi is not None and state is not None:
            rule = config.rule(check.rule, check.target)
            check = compile_check(rule, check.level, kpi, state, scoped=config.is_scoped(rule.kpi)) or check
        checks.append(check)
    return dataclasses.replace(config, checks=tuple(checks))
