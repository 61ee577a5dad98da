"""The functions of Prometheus's templates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from watchdog.core.pattern import PatternError, search_pattern
from watchdog.prometheus_rules.gofmt import format_4g, format_float, format_value, printf
from watchdog.prometheus_rules.syntax import parse_prometheus_duration


class TemplateError(Exception):
    """A template that cannot be read, or not be filled in."""


def to_float(value: object) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise TemplateError(f"{value!r} is no number") from None
    if isinstance(value, int | float):
        return float(value)
    raise TemplateError(f"{format_value(value)} is no number")


def humanize(value: object) -> str:
    v = to_float(value)
    if v == 0 or not math.isfinite(v):
        return format_4g(v)
    return _with_large_prefix(v, "kMGTPEZY", 1_000) if abs(v) >= 1 else _with_small_prefix(v)


def humanize1024(value: object) -> str:
    v = to_float(value)
    if abs(v) <= 1 or not math.isfinite(v):
        return format_4g(v)
    return _with_large_prefix(v, ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"), 1_024)


def humanize_duration(value: object) -> str:
    v = to_float(value)
    if not math.isfinite(v):
        return format_4g(v)
    if v == 0:
        return format_4g(v) + "s"
    if abs(v) < 1:
        return _with_small_prefix(v) + "s"
    sign, v = ("-", -v) if v < 0 else ("", v)
    seconds = int(v)
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds % 60}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds % 60}s"
    if minutes:
        return f"{sign}{minutes}m {seconds % 60}s"
    return f"{sign}{format_4g(v)}s"


def humanize_timestamp(value: object) -> str:
    v = to_float(value)
    if not math.isfinite(v):
        return format_4g(v)
    if abs(v) * 1e9 > 2**63 - 1:
        raise TemplateError(
            f"{format_value(v)} cannot be represented as a nanoseconds timestamp since it overflows int64"
        )
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(v * 1_000))
    part = f".{at.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%d %H:%M:%S}{part} +0000 UTC"


def _with_large_prefix(v: float, prefixes: Sequence[str], size: int) -> str:
    prefix = ""
    for each in prefixes:
        if abs(v) < size:
            break
        prefix = each
        v /= size
    return format_4g(v) + prefix


def _with_small_prefix(v: float) -> str:
    prefix = ""
    for each in "munpfazy":
        if abs(v) >= 1:
            break
        prefix = each
        v *= 1_000
    return format_4g(v) + prefix


def _strip_port(text: str) -> str:
    found = re.fullmatch(r"\[(.*)\]:[^:]*|([^:]*):[^:]*", text)
    return text if found is None else found[1] or found[2] or ""


def _strip_domain(text: str) -> str:
    host = _strip_port(text)
    if re.fullmatch(r"[0-9.]+", host) or ":" in host:
        return text
    return host.partition(".")[0] + text[len(host) :]


def _replace(pattern: str, with_: str, text: str) -> str:
    try:
        return search_pattern(pattern).replace_all(text, with_)
    except PatternError as error:
        raise TemplateError(f"reReplaceAll: {error}") from None


def _match(pattern: str, text: str) -> bool:
    try:
        return search_pattern(pattern).matches(text)
    except PatternError as error:
        raise TemplateError(f"match: {error}") from None


def _first(samples: Sequence[Any]) -> Any:
    if not samples:
        raise TemplateError("first() called on vector with no elements")
    return samples[0]


def _equal(first: object, *others: object) -> bool:
    for other in others:
        _same_kind(first, other)
    return any(first == other for other in others)


def _same_kind(first: object, second: object) -> None:
    """Go compares no float with a whole number: say 5.0."""
    if type(first) is not type(second):
        raise TemplateError("incompatible types for comparison")


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    def ordered(first: object, second: object) -> bool:
        _same_kind(first, second)
        return compare(first, second)

    return ordered


def is_true(value: object) -> bool:
    return bool(value) or (isinstance(value, float) and value != value)


def _and(*values: object) -> object:
    return next((value for value in values if not is_true(value)), values[-1])


def _or(*values: object) -> object:
    return next((value for value in values if is_true(value)), values[-1])


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value.get(key, "") if isinstance(value, Mapping) else value[key]
        except (TypeError, IndexError, KeyError):
            raise TemplateError(f"there is no {format_value(key)} in {format_value(value)}") from None
    return value


def _graph_link(tab: int) -> Callable[[str], str]:
    return lambda expr: f"/graph?g0.expr={quote_plus(expr)}&g0.tab={tab}"


def _print(*values: object) -> str:
    text = ""
    for i, value in enumerate(values):
        spaced = i and not isinstance(value, str) and not isinstance(values[i - 1], str)
        text += (" " if spaced else "") + format_value(value)
    return text


TEMPLATE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "humanize": humanize,
    "humanize1024": humanize1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": lambda value: format_4g(to_float(value) * 100) + "%",
    "humanizeTimestamp": humanize_timestamp,
    "printf": printf,
    "print": _print,
    "println": lambda *values: " ".join(map(format_value, values)) + "\n",
    "title": lambda text: re.sub(r"(?<![^\W_])([^\W\d_])", lambda found: found[1].upper(), text),
    "toUpper": lambda text: text.upper(),
    "toLower": lambda text: text.lower(),
    "match": _match,
    "reReplaceAll": _replace,
    "stripPort": _strip_port,
    "stripDomain": _strip_domain,
    "parseDuration": lambda text: parse_prometheus_duration(text) / 1_000,
    "graphLink": _graph_link(0),
    "tableLink": _graph_link(1),
    "urlquery": quote_plus,
    "safeHtml": lambda text: text,
    "first": _first,
    "value": lambda sample: sample["Value"],
    "label": lambda name, sample: sample["Labels"].get(name, ""),
    "strvalue": lambda sample: sample["Labels"].get("__value__", ""),
    "sortByLabel": lambda name, samples: sorted(samples, key=lambda sample: sample["Labels"].get(name, "")),
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _comparison(lambda a, b: a < b),
    "le": _comparison(lambda a, b: a <= b),
    "gt": _comparison(lambda a, b: not a <= b),
    "ge": _comparison(lambda a, b: not a < b),  # true of NaN, as in Go
    "and": _and,
    "or": _or,
    "not": lambda value: not is_true(value),
    "len": len,
    "index": _index,
}

__all__ = ["TEMPLATE_FUNCTIONS", "TemplateError", "format_float", "is_true"]
