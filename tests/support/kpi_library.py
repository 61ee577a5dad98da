"""The library of KPIs in rules/kpis, as its pages show it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from watchdog.config import Config, check_files
from watchdog.promql import metric_names, parse
from watchdog.rules import Kpi, Rule, Threshold

RULES = Path(__file__).parents[2] / "rules"
LIBRARY = RULES / "kpis"
FILES = sorted(LIBRARY.glob("*.yaml"))
TARGETS = "targets:\n  bot: {unit: trading-bot.service, repo: /srv/bot}\n"


class Metric(NamedTuple):
    """What the head of a file says that it needs."""

    name: str
    kind: str
    unit: str
    what: str


def load_alone(path: Path, folder: Path) -> Config:
    """One file of the library, and a target to speak for."""
    targets = folder / "targets.yaml"
    targets.write_text(TARGETS)
    config, problems = check_files([path, targets], environ={}, alone=True)
    assert config is not None, problems
    assert problems == []
    return config


def declared_metrics(path: Path) -> list[Metric]:
    head = path.read_text(encoding="utf-8").partition("\nkpis:\n")[0]
    return [
        Metric(*line) for line in re.findall(r"^#   (\w+) +(counter|gauge) {2,}(\S.*?) {2,}(\S.*)$", head, re.MULTILINE)
    ]


def read_metrics(kpi: Kpi) -> set[str]:
    return {name for text in (kpi.expr, kpi.needs) if text is not None for name in metric_names(parse(text))}


def metric_table() -> str:
    """All that a bot may deliver, and which files read it."""
    files: dict[Metric, list[str]] = {}
    for path in FILES:
        for metric in declared_metrics(path):
            files.setdefault(metric, []).append(path.name)
    rows = [f"| `{m.name}` | {m.kind} | {m.unit} | {m.what} | {', '.join(files[m])} |" for m in sorted(files)]
    return "\n".join(["| metric | kind | unit | what | read by |", "|---|---|---|---|---|", *rows])


def kpi_table(path: Path, config: Config) -> str:
    """The KPIs of one file, in its order."""
    rules = {rule.kpi: rule for rule in config.rules.values()}
    rows = [
        " | ".join(
            (
                f"| `{name}`",
                f"{kpi.help}",
                kpi.unit,
                ", ".join(f"`{metric}`" for metric in sorted(read_metrics(kpi))),
                f"`{' '.join(kpi.needs.split())}`".replace("`equity`", "–") if kpi.needs else "–",
                f"{kpi.baseline}",
                f"{_limits(rules[name])} |",
            )
        )
        for name, kpi in config.kpis.items()
    ]
    head = (
        "| KPI | what it says | unit | needs of the bot | evidence | baseline | limits |\n|---|---|---|---|---|---|---|"
    )
    return "\n".join([f"### {path.name}", "", head, *rows])


def _limits(rule: Rule) -> str:
    said = [(level, threshold) for level in ("warn", "crit") if (threshold := getattr(rule, level)) is not None]
    return ", ".join(f"{level} {_limit(threshold)}" for level, threshold in said)


def _limit(threshold: Threshold) -> str:
    limit = getattr(threshold, threshold.operator)
    shown = f"{limit[0]} to {limit[1]}" if isinstance(limit, tuple) else str(limit)
    return f"{threshold.operator.replace('_', ' ')} {shown}"
