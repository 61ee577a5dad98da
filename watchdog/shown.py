"""What is so now, told to people: the rows of `trading-watchdog status` and of the page at `/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from watchdog.model import Millis
from watchdog.units import show, show_duration

_PHASES = ("firing", "easing", "pending", "no data", "ok")


class Row(NamedTuple):
    kind: str
    name: str
    """Empty where the row belongs to the one above it."""
    text: str
    mood: str = ""
    """`crit`, `warn`, `ok`, `none` (nobody can tell) or empty, where there is nothing to judge."""


def rows(known: Mapping[str, Any]) -> Iterator[Row]:
    """`known`: what /api/status says. What fires stands above what is well."""
    for name, source in known["sources"].items():
        yield Row(
            "source",
            name,
            "up" if source["up"] else source["error"] or "not read yet",
            "ok" if source["up"] else "crit" if source["error"] else "none",
        )
    if (kept := known.get("history")) is not None:
        since = (
            "nothing yet" if kept["oldest"] is None else f"{show(kept['bytes'], 'bytes')} since {when(kept['oldest'])}"
        )
        paused = kept["paused"]
        yield Row("history", "", since + (f"; pauses: {paused}" if paused else ""), "warn" if paused else "")
    for name, kpi in known["kpis"].items():
        texts = ", ".join(value["text"] for value in kpi["values"]) or (
            "no data" if kpi["judged"] else "no rule judges it"
        )
        baseline = f"  (baseline {kpi['baseline']})" if kpi["baseline"] else ""
        yield Row("kpi", name, texts + baseline, "" if kpi["values"] or not kpi["judged"] else "none")
        if kpi["warning"]:
            yield Row("", "", kpi["warning"], "warn")
    for rule in sorted(known["rules"], key=_urgency):
        held = show_duration(known["now"] - rule["since"])
        yield Row("rule", _whose(rule), f"{rule['level']} {_phase(rule):<7} for {held}: {rule['reason']}", _mood(rule))
    for name in known.get("unjudged", ()):
        yield Row("rule", name, "not judged: asleep (only), or nothing was read yet", "none")
    for name, target in known["targets"].items():
        words = [] if target["configured"] else ["no longer configured"]
        words += [f"latched: {target['latched']}"] if target["latched"] else []
        acked = f" (acknowledged by {target['acked_by']})" if target["acked_by"] else ""
        words += [f"incident {target['incident']}{acked}"] if target["incident"] else []
        words += [_at_work(target["plan"], known["now"])] if target["plan"] else []
        words += [f"held by {target['held']}"] if target["held"] else []
        yield Row(
            "target", name, "; ".join(words) or "quiet", "crit" if target["latched"] else "warn" if words else "ok"
        )
    for stay in known["silenced"]:
        well = ", or until it is well" if stay["until_well"] else ""
        left = show_duration(stay["until"] - known["now"])
        yield Row("silence", stay["rule"], f"for another {left}{well} ({stay['who']})", "warn")


def when(t: Millis) -> str:
    """In the time zone of this machine."""
    return datetime.fromtimestamp(t / 1_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _whose(rule: Mapping[str, Any]) -> str:
    return str(rule["rule"]) + "".join(f" {name}={value}" for name, value in rule["labels"].items())


def _phase(rule: Mapping[str, Any]) -> str:
    """What holds, in a word. A rule that is ok because nothing speaks against it is not the same as one that is well."""
    return "no data" if rule["phase"] == "ok" and rule["outcome"] in ("nodata", "error") else str(rule["phase"])


def _mood(rule: Mapping[str, Any]) -> str:
    phase = _phase(rule)
    if phase in ("firing", "easing"):
        return str(rule["level"])
    return {"pending": "warn", "no data": "none"}.get(phase, "ok")


def _urgency(rule: Mapping[str, Any]) -> tuple[int, int, str, list[str]]:
    """What fires comes first, what is well last."""
    return (_PHASES.index(_phase(rule)), rule["level"] != "crit", rule["rule"], list(rule["labels"].values()))


def _at_work(plan: Mapping[str, Any], now: Millis) -> str:
    if plan["approve_by"] is None:
        return f"plan {plan['plan']} {plan['status']} (run {plan['run']})"
    left = show_duration(max(0, plan["approve_by"] - now))
    return f"plan {plan['plan']} waits for approval for another {left}: approve {plan['run']}, or deny {plan['run']}"
