"""How promtool's files write series and their values."""

from __future__ import annotations

import re
from typing import Final, Literal

from watchdog.core.model import Labels
from watchdog.prometheus_rules.syntax import unescape_go_string
from watchdog.tsdb.labels import LABEL_NAME, METRIC_NAME, METRIC_NAME_LABEL

SeriesValue = float | None | Literal["stale"]
"""A sample; None: there is none at that time; ``stale``: the series is gone from then on."""

MAX_VALUES: Final = 1_000_000
"""Values of one series: what is longer is a slip of the keyboard."""

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_WORD = r"(?:[iI][nN][fF]|[nN][aA][nN])(?![0-9A-Za-z_:])"
_SAMPLE = re.compile(
    rf"(?P<blank>_)(?:x(?P<blanks>\d+))?"
    rf"|(?P<stale>stale)"
    rf"|(?P<first>[+-]?(?:{_NUMBER}|{_WORD}))(?:(?P<sign>[+-])(?P<step>{_NUMBER}|{_WORD})(?=x))?(?:x(?P<times>\d+))?"
)
_METRIC, _LABEL = re.compile(METRIC_NAME), re.compile(LABEL_NAME)
_STRING = re.compile(r'"((?:\\.|[^"\\\n])*)"|\'((?:\\.|[^\'\\\n])*)\'|`([^`]*)`')


def parse_values(text: str) -> list[SeriesValue]:
    """``0+1x9 _x3 stale`` → eleven samples… A step is added again and again, as promtool does it. Raises ValueError."""
    values: list[SeriesValue] = []
    for word in text.split():
        if word.startswith("{{"):
            raise ValueError("native histograms are not supported — say the buckets as series of their own")
        found = _SAMPLE.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no value: {_hint(word)}")
        count = int(found["blanks"] or found["times"] or 0)
        if len(values) + count > MAX_VALUES:
            raise ValueError(f"{word!r} makes more than {MAX_VALUES} values of one series")
        if found["blank"]:
            values += [None] * (count if found["blanks"] else 1)
        elif found["stale"]:
            values.append("stale")
        else:
            value, step = float(found["first"]), float(found["step"] or 0)
            for _ in range(count + 1):
                values.append(value)
                if found["step"]:
                    value = value + step if found["sign"] == "+" else value - step
    return values


def _hint(word: str) -> str:
    if re.fullmatch(r"(?i)[+-]?(stale|inf|nan)x\d+", word):
        return "only numbers and _ can be repeated, write it out"
    if re.fullmatch(rf"[+-]?{_NUMBER}[+-]{_NUMBER}", word):
        return "say how often the step is added, as in 0+1x9"
    return "say a number, 0+1x9, 5x9, _, _x3 or stale"


def parse_series(text: str) -> Labels:
    """``up{job="a"}``, ``{__name__="up"}``, ``{"up"}`` or ``{}`` → labels with the name, sorted. Raises ValueError."""
    rest, labels = text.strip(), {}
    if name := _METRIC.match(rest):
        labels[METRIC_NAME_LABEL] = name[0]
        rest = rest[name.end() :].lstrip()
    if rest:
        if not rest.startswith("{"):
            raise ValueError(f'{text!r} is no series: write it as name{{label="value"}}')
        rest = rest[1:].lstrip()
        while not rest.startswith("}"):
            label, value, rest = _parse_pair(rest, text)
            if label in labels:
                raise ValueError(f"{text!r} says {label} twice")
            labels[label] = value
            if rest.startswith(","):
                rest = rest[1:].lstrip()
            elif not rest.startswith("}"):
                raise ValueError(f"{text!r}: a , or }} is missing before {rest[:20]!r}")
        if rest[1:].strip():
            raise ValueError(f"{text!r}: nothing may follow the }}")
    return tuple(sorted((label, value) for label, value in labels.items() if value))


def _parse_pair(rest: str, text: str) -> tuple[str, str, str]:
    """One ``label="value"``, and what follows it; a text alone is the metric's name."""
    quoted = _STRING.match(rest)
    label = _LABEL.match(rest)
    if quoted is not None:
        name, rest = _unquote(quoted), rest[quoted.end() :].lstrip()
        if not rest.startswith("="):
            return METRIC_NAME_LABEL, name, rest
    elif label is not None:
        name, rest = label[0], rest[label.end() :].lstrip()
    else:
        raise ValueError(f"{text!r}: a label should stand before {rest[:20]!r}")
    value = _STRING.match(rest[1:].lstrip()) if rest.startswith("=") and rest[1:2] not in ("~", "=") else None
    if value is None:
        raise ValueError(f'{text!r}: {name} is written {name}="value"')
    return name, _unquote(value), rest[1:].lstrip()[value.end() :].lstrip()


def _unquote(found: re.Match[str]) -> str:
    double, single, raw = found.groups()
    return raw if raw is not None else unescape_go_string(double if double is not None else single)
