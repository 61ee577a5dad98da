"""What reads texts that others write takes time linear to them: our own expressions, and the code around them.

Python's `re` backtracks: two neighbours that can share a text out in many ways cost the square of its length, or worse.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from watchdog.actions.values.document_change import describe_change
from watchdog.actions.values.editor import get_values
from watchdog.actions.values.value_path import parse_path
from watchdog.core import pattern, redaction, units
from watchdog.core.errors import WatchdogError
from watchdog.offline.history import text_format
from watchdog.offline.history.openmetrics import parse_openmetrics
from watchdog.offline.history.page_builder import HistoryError, PageBuilder
from watchdog.prometheus_rules.groups import fill_subquery_steps
from watchdog.prometheus_rules.helpers import TemplateError
from watchdog.prometheus_rules.hysteresis import closing_bracket
from watchdog.prometheus_rules.template import Template
from watchdog.rules.summary import unknown_placeholders
from watchdog.sources import openmetrics
from watchdog.sources.exposition import parse_samples
from watchdog.sources.perfdata import parse_perfdata

ROOT = Path(__file__).parents[2]
SHORT, LONG = 2_000, 8_000
FLOOR = 2e-3
"""Seconds. What is below is not measured well; a square of LONG takes more than ten times as long."""

STARTS = ("", "a", "1", "a=b", "a{", 'a{b="', '"', "[", "{{", "/*", "baseline", "now", "export", "-", "://", "a 1")
UNITS = (" ", "a", "1", ".", "=", '"', '\\"', "{", "[", "a.", "a=", 'a="b",', "a ", "{{", "/*", "a:", "1m", "\\Q", "''")
ENDS = ("", "!", "x\n", "}")


def _least_seconds(act: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(3):
        start = time.process_time()
        act()
        least = min(least, time.process_time() - start)
        if least < FLOOR:
            break
    return least


def _is_linear(act: Callable[[str], object], start: str, unit: str, end: str) -> bool:
    """Four times the text takes less than nine times as long."""

    def seconds(length: int) -> float:
        text = start + unit * (length // len(unit)) + end
        return _least_seconds(lambda: act(text))

    if (great := seconds(LONG)) < FLOOR:
        return True
    return great < 9 * max(seconds(SHORT), FLOOR / 9)


def _patterns() -> dict[str, re.Pattern[str]]:
    """Every compiled expression that stands in a module of ours, by its place."""
    found = {}
    for path in sorted((ROOT / "watchdog").rglob("*.py")):
        if not re.search(r"^_?[A-Z_]+ = re\.compile", path.read_text(), re.MULTILINE):
            continue
        place = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name, value in vars(importlib.import_module(place)).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                found[f"{place}.{name}"] = value
    return found


PATTERNS = _patterns()


@pytest.mark.slow
@pytest.mark.parametrize("place", PATTERNS)
def test_a_pattern_of_ours_matches_in_time_linear_to_the_text(place: str) -> None:
    matches = PATTERNS[place].fullmatch
    for start in STARTS:
        for unit in UNITS:
            for end in ENDS:
                for length in (24, 400):  # what is exponential ends here, before it takes years
                    text = start + unit * (length // len(unit)) + end
                    assert _least_seconds(lambda text=text: matches(text)) < 1, (place, text)  # type: ignore[misc]
                assert _is_linear(matches, start, unit, end), (place, start, unit, end)


def _ignoring(act: Callable[[str], object]) -> Callable[[str], object]:
    def acts(text: str) -> None:
        with contextlib.suppress(WatchdogError, HistoryError, TemplateError, ValueError):
            act(text)

    return acts


READERS: dict[str, Callable[[str], object]] = {
    "a page": lambda text: parse_samples(f"{text}\n".encode(), 0),
    "a page in OpenMetrics": lambda text: openmetrics.parse_samples(
        f"{text}\n# EOF\n".encode(), 0, {}, openmetrics.OpenMetricsCache()
    ),
    "performance data": lambda text: parse_perfdata(f"|{text}"),
    "a history": lambda text: parse_openmetrics("x", [text], PageBuilder("history")),
    "a series": text_format.parse_series,
    "an env file": lambda text: get_values(text.encode(), "x.env", ["y"]),
    "an ini file": lambda text: get_values(text.encode(), "x.ini", ["y"]),
    "a json file": lambda text: get_values(text.encode(), "x.json", ["y"]),
    "a toml file": lambda text: get_values(text.encode(), "x.toml", ["y"]),
    "a yaml file": lambda text: get_values(text.encode(), "x.yaml", ["y"]),
    "a path of keys": parse_path,
    "a text that may hold secrets": redaction.blot_text,
    "a change": lambda text: describe_change(text.encode(), f"{text}!".encode(), "x.txt"),
    "a subquery": lambda text: fill_subquery_steps(text, 1_000),
    "a bracket": lambda text: closing_bracket(text, 0),
    "a template": lambda text: Template(text).text,
    "a summary": unknown_placeholders,
    "a duration": units.parse_duration,
    "the groups of a user's pattern": pattern._group_names,
    "the words of a user's pattern": pattern._literal_alternatives,
}


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_text_is_read_in_time_linear_to_its_length(reader: str) -> None:
    act = _ignoring(READERS[reader])
    for start in STARTS:
        for unit in UNITS:
            for end in ENDS:
                assert _is_linear(act, start, unit, end), (reader, start, unit, end)


def test_a_template_that_is_never_closed_is_refused_at_once() -> None:
    with pytest.raises(TemplateError, match="not closed"):
        Template("{{ " + '""' * 5_000)
