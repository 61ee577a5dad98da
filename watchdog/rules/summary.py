"""A rule's `summary`: one line for people with placeholders. What could go wrong goes wrong at load."""

from __future__ import annotations

import re
from collections.abc import Mapping

from watchdog.core.model import Labels, Millis, Verdict
from watchdog.core.text import quote_label
from watchdog.core.units import format_apart, format_duration, format_value
from watchdog.rules.compile import Check

PLACEHOLDERS = ("value", "limit", "baseline", "labels", "labels.x", "duration", "name", "level", "target", "kpi")
_PLACEHOLDER = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_KNOWN_PLACEHOLDER = re.compile(r"(?:value|limit|baseline|labels(?:\.[a-zA-Z_]\w*)?|duration|name|level|target|kpi)")


def render_summary(summary: str, check: Check, verdict: Verdict, bad_for: Millis = 0, labels: Labels = ()) -> str:
    """The summary with its placeholders filled in. Unknown placeholders were refused at load.

    `bad_for`: how long it has been bad. `labels`: the rule's own, beside those of the series.
    """
    label_values = dict(verdict.labels) | dict(labels)
    value, limit = format_value_and_limit(check, verdict.value)

    def text(found: re.Match[str]) -> str:
        match found[1].partition(".")[0]:
            case "value":
                return value
            case "limit":
                return "none" if verdict.limit is None and check.operator in (None, "expr") else limit
            case "baseline":
                return "none" if check.baseline is None else format_value(check.baseline, check.unit)
            case "labels" if "." in found[1]:
                label = label_values.get(found[1].partition(".")[2])
                return "none" if label is None else quote_label(label)
            case "labels":
                return format_labels(label_values) or "none"
            case "duration":
                return format_duration(bad_for)
            case "name":
                return check.rule
            case "level":
                return check.level
            case "target":
                return check.target
            case "kpi":
                return check.kpi
        return found[0]  # refused at load; here it would only hide the rest

    return _PLACEHOLDER.sub(text, summary)


def format_labels(labels: Mapping[str, str]) -> str:
    """``disk=/data, team="infra and ops"``"""
    return ", ".join(f"{name}={quote_label(value)}" for name, value in sorted(labels.items()))


def format_limit(check: Check) -> str:
    """``15 %``; of `outside` both, ``10 % to 30 %``."""
    return format_value_and_limit(check, None)[1]


def format_value_and_limit(check: Check, value: float | None) -> tuple[str, str]:
    """Both in so many figures that what is said of the two is seen to be true: 10.04 s is above 10 s."""
    limits = [check.low_limit, check.limit] if check.operator == "outside" else [check.limit]
    shown, *texts = format_apart([value, *limits], check.unit)
    return shown, " to ".join(texts)


def unknown_placeholders(summary: str) -> list[str]:
    """What stands in ``{{ }}`` and means nothing; also an unclosed ``{{`` and a ``}}`` that closes nothing."""
    before, *parts = summary.split("{{")
    found, rest = list[str](), [before]
    for part in parts:
        inside, closed, behind = part.partition("}}")
        found += [inside] if closed else []
        rest.append(behind if closed else "{{")
    wrong = [text.strip() for text in found if not _KNOWN_PLACEHOLDER.fullmatch(text.strip())]
    wrong += ["an unclosed {{"] if any("{{" in text for text in rest) else []
    return wrong + (["a }} that closes nothing"] if any("}}" in text for text in rest) else [])
