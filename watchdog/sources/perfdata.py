"""What a monitoring plugin prints → its performance data, in base units.

The format is that of the Monitoring Plugins' guidelines (<https://www.monitoring-plugins.org/doc/guidelines.html>), read by
the letter: ``'label'=value[UOM];[warn];[crit];[min];[max]``, blanks between, behind the first ``|`` of the first line, and
again behind the first one further down and on all lines after that. What is not like that is no value, and is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels

MAX_PAIRS = 10_000
"""Of one output; what has more is refused."""
PREFIX = "command_perfdata"
_MAX_NUMBER = 60
"""Characters of a number."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_UOM = re.compile(r"[^0-9;'\"\s\x00-\x1f+.,-][^0-9;'\"\s\x00-\x1f]{0,31}")
# `*+` stands behind single characters only, see `exposition`.
_QUOTED_LABEL = re.compile(r"'([^']*+(?:''[^']*+)*)'=")
_PLAIN_LABEL = re.compile(r"([^\s='|]++)=")
_WORD = re.compile(r"\S*+")
_BLANKS = re.compile(r"\s*+")

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "\u00b5s": 10**6, "\u03bcs": 10**6, "ns": 10**9}
_BYTES = {
    "B": 1,
    **{
        name: 1024**power
        for power, letter in enumerate("KMGTP", 1)
        for name in (f"{letter}B", f"{letter}iB", f"{letter.lower()}B")
    },
}
"""The plugins mean 1,024 by their K."""


class PerfValue(NamedTuple):
    """One number of the performance data."""

    name: str
    """Of the metric: ``command_perfdata_bytes``."""
    labels: Labels
    value: float


class PerfData(NamedTuple):
    values: tuple[PerfValue, ...]
    unreadable: int
    """Words that are no performance data, and values that stand there twice."""


class _Unit(NamedTuple):
    suffix: str = ""
    factor: int = 1
    divisor: int = 1
    """So that 7 % are 0.07, and no other float beside it."""
    labels: Labels = ()

    def scale(self, number: float) -> float:
        return number * self.factor / self.divisor


_OTHERS = {"": _Unit(), "%": _Unit("_ratio", divisor=100), "c": _Unit("_total")}


def parse_perfdata(output: str) -> PerfData:
    """All of an output's. Raises SourceError when there are more than `MAX_PAIRS`."""
    found: dict[tuple[str, Labels], float] = {}
    twice: set[tuple[str, Labels]] = set()
    unreadable = 0
    for number, pair in enumerate(_pairs(perfdata_text(output))):
        if number >= MAX_PAIRS:
            raise SourceError(f"it prints more than {MAX_PAIRS} performance data — is it a monitoring plugin?")
        values = None if pair is None else _values(*pair)
        if values is None:
            unreadable += 1
            continue
        for name, labels, value in values:
            if (name, labels) in found:
                twice.add((name, labels))
            found[name, labels] = value
    kept = tuple(PerfValue(*series, value) for series, value in found.items() if series not in twice)
    return PerfData(kept, unreadable + len(twice))


def perfdata_text(output: str) -> str:
    """What stands behind the bars."""
    first, _, rest = output.partition("\n")
    return f"{first.partition('|')[2]}\n{rest.partition('|')[2]}"


def _pairs(text: str) -> Iterator[tuple[str, str] | None]:
    """(label, what stands behind the ``=``); None for a word that is no such thing."""
    at = _end(_BLANKS, text, 0)
    while at < len(text):
        label = _QUOTED_LABEL.match(text, at) or _PLAIN_LABEL.match(text, at)
        end = _end(_WORD, text, at if label is None else label.end())
        yield None if label is None else (label[1].replace("''", "'"), text[label.end() : end])
        at = _end(_BLANKS, text, end)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _values(label: str, text: str) -> list[PerfValue] | None:
    """The value, and what of its limits and bounds is said; none where it is ``U``, which says that nobody knows. None: it
    is no performance data."""
    said, *more = text.split(";", 5)
    if said == "U" or not label.strip():
        return [] if said == "U" else None
    number = _NUMBER.match(said[:_MAX_NUMBER])
    unit = None if number is None else _unit(said[number.end() :])
    if number is None or unit is None or (more[4:] and more[4].strip(";")):
        return None
    value = float(number[0])
    if not math.isfinite(unit.scale(value)):
        return None
    found = [_value("", unit, label, value)]
    for kind, range_ in zip(("warn", "crit"), more[:2], strict=False):
        limits = _limits(range_, unit)
        if limits is None:
            return None
        found += [_value(f"_{kind}", unit, label, limit, bound) for bound, limit in limits.items()]
    for kind, bound in zip(("min", "max"), more[2:4], strict=False):
        if bound:
            edge = _number(bound, unit)
            if edge is None:
                return None
            found.append(_value(f"_{kind}", unit, label, edge))
    return found


def _value(kind: str, unit: _Unit, label: str, number: float, bound: str | None = None) -> PerfValue:
    labels = {"label": label, **dict(unit.labels)} | ({} if bound is None else {"bound": bound})
    return PerfValue(f"{PREFIX}{kind}{unit.suffix}", tuple(sorted(labels.items())), unit.scale(number))


def _unit(uom: str) -> _Unit | None:
    """What its numbers are; None for what is no unit."""
    if uom in _PER_SECOND:
        return _Unit("_seconds", divisor=_PER_SECOND[uom])
    if uom in _BYTES:
        return _Unit("_bytes", _BYTES[uom])
    if uom in _OTHERS:
        return _OTHERS[uom]
    return _Unit(labels=(("uom", uom),)) if _UOM.fullmatch(uom) else None


def _number(text: str, unit: _Unit) -> float | None:
    """Some plugins say the unit once more; in another one a number could be anything."""
    match = _NUMBER.match(text[:_MAX_NUMBER])
    if match is None:
        return None
    rest, number = text[match.end() :], float(match[0])
    return number if math.isfinite(unit.scale(number)) and (not rest or _unit(rest) == unit) else None


def _limits(text: str, unit: _Unit) -> dict[str, float] | None:
    """Of a range, outside of which is bad: ``10`` (0 to 10), ``10:``, ``~:10``, ``10:20``. None for what is no range.

    Of one within which is bad (``@10:20``) there are none: they would read as the opposite.
    """
    if text.startswith("@"):
        return {} if _limits(text[1:], unit) else None
    if not text:
        return {}
    low, colon, high = text.rpartition(":")
    found = {}
    if colon and low not in ("", "~"):
        found["lower"] = _number(low, unit)
    if not colon:
        found["lower"] = 0.0
    if high:
        found["upper"] = _number(high, unit)
    return None if None in found.values() or text in (":", "~:") else {k: v for k, v in found.items() if v is not None}
