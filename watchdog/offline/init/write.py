"""A first watchdog.yaml and rules/: everything that was found, with a comment at whatever a person should look at."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from watchdog.core.errors import WatchdogError
from watchdog.core.text import escape
from watchdog.offline.init.draft import SourceDraft, TargetDraft
from watchdog.offline.init.kpis import FoundSeries, KpiDraft

_BLOCKS = ("values", "queries")
"""Keys whose entries stand on a line each."""


def main_text(
    sources: Sequence[SourceDraft],
    problems: Mapping[str, str],
    notes: Iterable[str],
    *,
    own_state: bool,
    web_port: int = 9464,
) -> str:
    """`problems`: source → why it could not be read. `own_state`: the state folder lies beside the file."""
    lines = ["# Where samples come from and who is told. docs/operations.md explains each key.", "", "sources:"]
    for source in sources:
        lines.append(f"  # {_comment(source.about)}")
        if source.name in problems:
            lines.append(f"  # Not read yet: {_comment(problems[source.name])}")
        lines += [f"  # edit: {_comment(each)}" for each in source.todo]
        lines.append(f"  {source.name}:")
        for key, value in source.entry.items():
            lines += [f"    {line}" for line in _entry_lines(key, value)]
    lines += [f"# Not read: {_comment(note)}" for note in notes]
    lines += [
        "",
        "# edit: who is told. Until then messages go to the log (docs/channels/).",
        "# channels:",
        '#   slack: {type: slack, token: "${SLACK_BOT_TOKEN}", channel: C0123456}',
        "",
        f"web: {{listen: 127.0.0.1:{web_port}}}",
    ]
    return "\n".join([*lines, *(["state: state"] if own_state else [])]) + "\n"


def rules_text(target: TargetDraft, kpis: Sequence[KpiDraft], found: Sequence[FoundSeries]) -> str:
    """`found`: what was delivered, for the value of each KPI's metric as it was."""
    plan = "restart" if target.unit is not None else None
    latest = {series.name: series.value for series in found}
    lines = ["# What is protected.", "targets:", f"  {target.name}: {_flow(target.entry())}", ""]
    lines += [
        "# What is judged. `trading-watchdog status` shows the values, `trading-watchdog sources` what they are made of.",
        "kpis:",
    ]
    for each in kpis:
        value = latest.get(each.reads)
        now = "" if value is None or not math.isfinite(value) else f" ({each.reads} was {value:.10g})"
        lines += [f"  # {_comment(each.comment + now)}", f"  {each.name}:"]
        lines += [f"    {key}: {_flow(said)}" for key, said in each.kpi.items()]
    lines += [
        "",
        f"defaults: {{target: {target.name}}}",
        "",
        "# When it is too much. What has no plan is only told.",
        "rules:",
    ]
    for each in kpis:
        rule = {**each.rule}
        if plan is not None and "crit" in rule:
            rule["crit"] = {**rule["crit"], "plan": plan}
        lines += [f"  - name: {each.name}", f"    kpi: {each.name}"]
        lines += [f"    {key}: {_flow(said)}" for key, said in rule.items()]
    lines += ["", *(_plan_lines(target) if plan is not None else _plan_hint())]
    return "\n".join(lines) + "\n"


def _plan_lines(target: TargetDraft) -> Iterator[str]:
    yield "# What is done. With `mode: dry-run` it is written down and told, and nothing is changed; docs/plans.md says what else"
    yield "# a plan may do: flags, versions in git, kill switches. `trading-watchdog drill` rehearses it."
    yield "plans:"
    yield "  restart:"
    yield "    kind: repair"
    yield "    mode: dry-run"
    yield "    exhausted: stop"
    yield "    verify: {settle: 10s, that: [process_up == 1], quiet: 1m, give_up: 10m}"
    yield "    levels:"
    yield f"      - {{name: restart, steps: [{{do: systemd, restart: {target.unit}}}]}}"
    yield "  stop:"
    yield "    kind: halt"
    yield "    levels:"
    yield f"      - {{name: stop, steps: [{{do: systemd, stop: {target.unit}}}], verify: {{that: [process_up == 0], give_up: 1m}}}}"


def _plan_hint() -> Iterator[str]:
    yield "# What is done: nothing yet, every rule only tells. With a plan (docs/plans.md), `crit: {…, plan: halt}` starts it:"
    yield "# plans:"
    yield "#   halt:"
    yield "#     kind: halt"
    yield "#     levels:"
    yield "#       - name: no-entries"
    yield "#         steps: [{do: flag, file: settings.json, set: {trading: false}}]"
    yield "#         verify: {that: [bot_entries_enabled == 0], give_up: 30s}"


def _entry_lines(key: str, value: Any) -> Iterator[str]:
    if key in _BLOCKS and isinstance(value, Mapping) and value:
        yield f"{key}:"
        yield from (f"  {name}: {_flow(each)}" for name, each in value.items())
    elif key in _BLOCKS and isinstance(value, list):
        yield f"{key}:"
        for each in value:
            first, *others = each.items()
            yield f"  - {first[0]}: {_flow(first[1])}"
            yield from (f"    {name}: {_flow(said)}" for name, said in others)
    else:
        yield f"{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    """One line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, sort_keys=False, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...").strip()
    return json.dumps(value) if len(text.splitlines()) > 1 else text  # which is YAML, too


def _comment(text: str) -> str:
    """What others wrote cannot end a comment."""
    return escape(text)


def write_files(texts: Mapping[Path, str]) -> None:
    """All of them, or none; nothing is overwritten. Raises WatchdogError."""
    for path in texts:
        if path.exists() or path.is_symlink():
            raise WatchdogError(
                f"{path} is there already, and nothing is overwritten — say --config with another folder"
            )
    made: list[Path] = []
    try:
        for path, text in texts.items():
            for folder in reversed([each for each in path.parents if not each.exists()]):
                folder.mkdir(mode=0o755)
                made.append(folder)
                folder.chmod(0o755)  # whatever the umask: who may write rules may have commands run
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                made.append(path)
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
    except OSError as problem:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise WatchdogError(
            f"{problem.filename or next(iter(texts))} cannot be written: {problem.strerror} — say --config with a folder of yours"
        ) from None
