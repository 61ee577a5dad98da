"""What is so now, told to people: the rows of `trading-watchdog status` and of the page at `/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from watchdog.core.model import Millis
from watchdog.core.text import quote_label
from watchdog.core.units import format_duration, format_value

_SHOWN_AGE: Millis = 1_000
"""From which on it is said how old the newest sample of a source is."""
_PHASE_ORDER = ("firing", "easing", "pending", "no data", "ok")


class StatusRow(NamedTuple):
    kind: str
    name: str
    """Empty where the row belongs to the one above it."""
    text: str
    state: str = ""
    """`crit`, `warn`, `ok`, `none` (nobody can tell) or empty, where there is nothing to judge."""


def build_status_rows(status: Mapping[str, Any]) -> Iterator[StatusRow]:
    """`status`: what /api/status says. What fires stands above what is well."""
    files = status.get("files") or {"lost": (), "refused": ()}
    for line in files["lost"]:
        yield StatusRow("files", "configuration", f"watched before the start, and not any more: {line}", "crit")
    for line in files["refused"]:
        yield StatusRow("files", "configuration", line, "warn")
    for name, source in status["sources"].items():
        cut = source.get("cut") if source["up"] else None
        yield StatusRow(
            "source",
            name,
            _describe_source(source, cut),
            "warn"
            if cut or (source["up"] and source.get("flaps"))
            else "ok"
            if source["up"]
            else "crit"
            if source["error"]
            else "none",
        )
    if (history := status.get("history")) is not None:
        since = (
            "nothing yet"
            if history["oldest"] is None
            else f"{format_value(history['bytes'], 'bytes')} since {format_time(history['oldest'])}"
        )
        paused = history["paused"]
        yield StatusRow("history", "", since + (f"; pauses: {paused}" if paused else ""), "warn" if paused else "")
    for name, kpi in status["kpis"].items():
        texts = ", ".join(value["text"] for value in kpi["values"]) or (
            "no data" if kpi["judged"] else "no rule judges it"
        )
        baseline = f"  (baseline {kpi['baseline']})" if kpi["baseline"] else ""
        yield StatusRow("kpi", name, texts + baseline, "" if kpi["values"] or not kpi["judged"] else "none")
        if kpi["warning"]:
            yield StatusRow("", "", kpi["warning"], "warn")
    several = len(status["targets"]) > 1
    for rule in sorted(status["rules"], key=_sort_key):
        unseen = rule.get("missing") if _display_phase(rule) == "no data" else None  # an older daemon does not say it
        duration = format_duration(status["now"] - rule["since"] if unseen is None else unseen)
        yield StatusRow(
            "rule",
            (f"{rule['target']}: " if several else "") + _rule_with_labels(rule),
            f"{rule['level']} {_display_phase(rule):<7} for {duration}: {_reason(rule)}",
            _rule_state(rule),
        )
    for name in status.get("unjudged", ()):
        yield StatusRow("rule", name, "not judged: asleep (only), or nothing was read yet", "none")
    for name, target in status["targets"].items():
        details = [] if target["configured"] else ["no longer configured"]
        details += [f"latched: {target['latched']}"] if target["latched"] else []
        acked = f" (acknowledged by {target['acked_by']})" if target["acked_by"] else ""
        details += [f"incident {target['incident']}{acked}"] if target["incident"] else []
        details += [_describe_plan(target["plan"], status["now"])] if target["plan"] else []
        details += [f"held by {target['held']}"] if target["held"] else []
        details += target.get("undone", ())
        details += target["left"]
        yield StatusRow(
            "target", name, "; ".join(details) or "quiet", "crit" if target["latched"] else "warn" if details else "ok"
        )
        for one in target["standing"]:
            lasting = format_duration(status["now"] - one["since"])
            back = f"; back with: {one['back']}" if one["back"] else ""
            yield StatusRow(
                "", "", f"{one['what']}: {one['how']} for {lasting} by {one['plan']} (run {one['run']}){back}"
            )
        for budget in target["budget"]:
            if budget["frees"] is not None:
                left = f"{budget['left']} left" if budget["left"] else "used up"
                yield StatusRow("", "", f"budget {budget['text']}: {left} until {format_time(budget['frees'])}")
    for name, channel in status.get("channels", {}).items():
        if channel["late"]:
            yield StatusRow("channel", name, _describe_channel(channel, status["now"]), "crit")
        if channel.get("unheard"):
            yield StatusRow("channel", name, f"what people answer is not heard: {channel['unheard']}", "warn")
    if (pictures := status.get("pictures")) is not None:
        yield StatusRow("channel", "", pictures, "none")
    for suppression in status["silenced"]:
        until_ok = ", or until it is well" if suppression["until_well"] else ""
        left = format_duration(suppression["until"] - status["now"])
        yield StatusRow("silence", suppression["rule"], f"for another {left}{until_ok} ({suppression['who']})", "warn")


def format_time(t: Millis) -> str:
    """In the time zone of this machine."""
    return datetime.fromtimestamp(t / 1_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _rule_with_labels(rule: Mapping[str, Any]) -> str:
    return str(rule["rule"]) + "".join(f" {name}={quote_label(value)}" for name, value in rule["labels"].items())


def _display_phase(rule: Mapping[str, Any]) -> str:
    """What holds, in a word. A rule that is ok because nothing speaks against it is not the same as one that is well."""
    return "no data" if rule["phase"] == "ok" and rule["outcome"] in ("nodata", "error") else str(rule["phase"])


def _reason(rule: Mapping[str, Any]) -> str:
    """Why it is so; of a rule whose metrics never came, that it stands aside for it."""
    metrics = ", ".join(rule.get("aside") or ())
    return (
        f"stands aside, {metrics} never came" if metrics and _display_phase(rule) == "no data" else str(rule["reason"])
    )


def _rule_state(rule: Mapping[str, Any]) -> str:
    phase = _display_phase(rule)
    if phase in ("firing", "easing"):
        return str(rule["level"])
    return {"pending": "warn", "no data": "none"}.get(phase, "ok")


def _describe_source(source: Mapping[str, Any], cut: str | None) -> str:
    text = (f"up, cut: {cut}" if cut else "up") if source["up"] else source["error"] or "not read yet"
    if flaps := source.get("flaps"):
        text = f"{text}, flaps: {flaps}" if source["up"] else f"{text}; flaps"
    age = source.get("age")
    return (
        text
        if age is None or age < _SHOWN_AGE
        else f"{text}; newest sample {format_duration(age // 1_000 * 1_000)} old"
    )


def _describe_channel(channel: Mapping[str, Any], now: Millis) -> str:
    """Of one that does not deliver."""
    if not channel["unsent"]:
        return "does not deliver: what it was to take was refused"
    count = f"{channel['unsent']} message{'' if channel['unsent'] == 1 else 's'}"
    text = f"{count} not delivered for {format_duration(channel['age'] // 1_000 * 1_000)}"
    if (until := channel["paused_until"]) is not None and until > now:
        text += f", asked to wait for another {format_duration((until - now) // 1_000 * 1_000)}"
    return f"{text}: {channel['error']}" if channel["error"] else text


def _sort_key(rule: Mapping[str, Any]) -> tuple[int, int, str, str, list[str]]:
    """What fires comes first, what is well last."""
    return (
        _PHASE_ORDER.index(_display_phase(rule)),
        rule["level"] != "crit",
        rule.get("target", ""),
        rule["rule"],
        list(rule["labels"].values()),
    )


def _describe_plan(plan: Mapping[str, Any], now: Millis) -> str:
    if plan["approve_by"] is None:
        part = " (recover)" if plan["part"] == "recover" else ""  # a halt's way back to work is no halt
        return f"plan {plan['plan']}{part} {plan['status']} (run {plan['run']})"
    left = format_duration(max(0, plan["approve_by"] - now))
    return f"plan {plan['plan']} waits for approval for another {left}: approve {plan['run']}, or deny {plan['run']}"
