"""A rule's `summary`: one line for people with placeholders. What could go wrong goes wrong at load."""

from __future__ import annotations

import re
from collections.abc import Mapping

from watchdog.model import Labels, Millis, Verdict
from watchdog.rules.check import Check
from watchdog.units import show, show_duration

PLACEHOLDERS = ("value", "limit", "baseline", "labels", "labels.x", "duration", "name", "level", "target", "kpi")
_PLACE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_KNOWN = re.compile(r"(?:value|limit|baseline|labels(?:\.[a-zA-Z_]\w*)?|duration|name|level|target|kpi)")


def fill(summary: str, check: Check, verdict: Verdict, lasting: Millis = 0, labels: Labels = ()) -> str:
    """The summary with its placeholders filled in. Unknown placeholders were refused at load.

    `lasting`: how long it has been bad. `labels`: the rule's own, beside those of the series.
    """
    told = dict(verdict.labels) | dict(labels)

    def text(found: re.Match[str]) -> str:
        match found[1].partition(".")[0]:
            case "value":
                return show(verdict.value, check.unit)
            case "limit":
                return "none" if verdict.limit is None and check.operator in (None, "expr") else show_limit(check)
            case "baseline":
                return "none" if check.baseline is None else show(check.baseline, check.unit)
            case "labels" if "." in found[1]:
                return told.get(found[1].partition(".")[2], "none")
            case "labels":
                return say_labels(told) or "none"
            case "duration":
                return show_duration(lasting)
            case "name":
                return check.rule
            case "level":
                return check.level
            case "target":
                return check.target
            case "kpi":
                return check.kpi
        return found[0]  # refused at load; here it would only hide the rest

    return _PLACE.sub(text, summary)


def say_labels(labels: Mapping[str, str]) -> str:
    """``disk=/data, team=infra``"""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def show_limit(check: Check) -> str:
    """``15 %``; of `outside` both, ``10 % to 30 %``."""
    if check.operator == "outside":
        return f"{show(check.low, check.unit)} to {show(check.limit, check.unit)}"
    return show(check.limit, check.unit)


def unknown_placeholders(summary: str) -> list[str]:
    """What stands in ``{{ }}`` and means nothing; also an unclosed ``{{`` and a ``}}`` that closes nothing."""
    found = re.findall(r"\{\{(.*?)\}\}", summary, re.DOTALL)
    rest = re.sub(r"\{\{.*?\}\}", "", summary, flags=re.DOTALL)
    wrong = [text.strip() for text in found if not _KNOWN.fullmatch(text.strip())]
    wrong += ["an unclosed {{"] if "{{" in rest else []
    return wrong + (["a }} that closes nothing"] if "}}" in rest else [])
