"""All errors of all files: of two mistakes that have nothing to do with each other neither hides the other."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.config import load
from watchdog.documents.problems import ConfigError, Problem

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MAIN = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:8000/metrics", every: 1s}
  process: {type: process, unit: trading-bot.service, every: 1s}
  host: {type: host, every: 5s, disks: [/]}
channels:
  slack: {type: slack, token: "xoxb-12345678", channel: C0123456}
  telegram: {type: telegram, token_file: telegram.token, chat: -1001234, from: crit}
web: {listen: "127.0.0.1:9464"}
reload: {watch: true}
history: {raw: 30d, coarse: 2y}
"""
FILES = {
    "watchdog.yaml": MAIN,
    **{f"rules/{path.name}": path.read_text() for path in sorted((ROOT / "rules").glob("*.yaml"))},
}
_CODE = r"^[^#\n]*?"
MISTAKES = {
    "a misspelt key": (
        r"\b(unit|every|url|channel|listen|watch|raw|kpi|above|below|at_least|clear_for|summary|then|after|when"
        r"|exhausted|verify|levels|steps|settle|give_up|restart|revert|file|budget|repo)(?=: )",
        r"\1zz",
    ),
    "an expression": (r"(?<=expr: )(?!>)[^#\n]*?(?= *(?:#|$))", r"rate(x["),
    "a condition": (r"(?<=that: \[)[^\]]*(?=\])", r"'rate(x['"),
    "a condition in a list": (r"(?<=        - )(?:increase|process_up)[^#\n]*?(?= *(?:#|$))", r"rate(x["),
    "evidence": (r"(?<=needs: )[^#\n]*?(?= *(?:#|$))", r"rate(x["),
    "a unit": (r"(?<=    unit: )\w+", r"parsecs"),
    "a duration": (r"\b((?:for|raw|settle|give_up|after): )[0-9]+[smhdy]\b", r"\1 2 parsecs"),
    "a bare number for a duration": (r"\b((?:settle|give_up|every): )[0-9]+[sm]\b", r"\g<1>5"),
    "a limit": (r"\b((?:above|below): )[0-9.]+%?(?=[,}])", r"\g<1>12 parsecs"),
    "a recovery threshold": (r"(?<=\bclear: )[0-9.]+%(?=[,}])", "12 parsecs"),
    "a plan that is none": (r"(?<=plan: )\w+", "nosuch"),
    "a KPI that is none": (r"(?<=    kpi: )\w+", "nosuch"),
    "a target that is none": (r"(?<=  target: )\w+", "nosuch"),
    "a halt that is none": (r"(?<=exhausted: )\w+", "nosuch"),
    "no quiet": (r"(?<=[ {])quiet: [0-9]+m(?:, )?", ""),
    "no proof": (r"verify: \{that: [^}]*\}$", "verify: {}"),
    "a tag": (r"(?<=\{do: )(\w)(\w+)", r"\2\1"),
    "a kind": (r"(?<=kind: )(re|ha)(\w+)", r"\1x\2"),
    "a wrong type": (r"(?<=  - name: )[\w-]+", "[]"),
}


class Mistake(NamedTuple):
    kind: str
    file: str
    start: int
    end: int
    text: str

    @property
    def line(self) -> int:
        return FILES[self.file][: self.start].count("\n") + 1


def possible_mistakes() -> Iterator[Mistake]:
    """Each place of a file in which one can be made; comments stay as they are."""
    for file, text in FILES.items():
        for kind, (pattern, instead) in MISTAKES.items():
            for found in re.finditer(pattern, text, re.MULTILINE):
                line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
                if "#" not in line and found[0]:
                    yield Mistake(kind, file, found.start(), found.end(), found.expand(instead))


ALL = list(possible_mistakes())


def problems_of(*mistakes: Mistake) -> set[Problem]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "rules").mkdir()
        for file, text in FILES.items():
            for each in sorted((each for each in mistakes if each.file == file), key=lambda each: -each.start):
                text = text[: each.start] + each.text + text[each.end :]
            (Path(name) / file).write_text(text)
        try:
            load(Path(name), environ={})
        except ConfigError as error:
            return {each._replace(file=str(Path(each.file).relative_to(name)), cure="") for each in error.problems}
        return set()


@cache
def problems_of_one(mistake: Mistake) -> frozenset[Problem]:
    return frozenset(problems_of(mistake))


def told(mistake: Mistake, other: Mistake, problems: set[Problem]) -> bool:
    """Whether one of its own problems is among them, or at its place another one than the other mistake's.

    The columns behind the other one, in its line, have moved; and what a limit does not fit is told in other words where its
    KPI is not known.
    """
    places = {(each.file, each.line) for each in problems_of_one(mistake)}
    foreign = {(each.file, each.line, each.what) for each in problems_of_one(other)}
    own = {(each.file, each.line, each.what) for each in problems_of_one(mistake)}
    found = {(each.file, each.line, each.what) for each in problems}
    return bool(found & own) or any((file, line) in places for file, line, _ in found - foreign)


@cache
def spans_of_values(file: str) -> dict[int, tuple[int, int]]:
    """Where a key begins → where what stands under it begins and ends."""
    found = {}
    todo = [yaml.compose(FILES[file])]
    while todo:
        match todo.pop():
            case yaml.MappingNode(value=pairs):
                for key, value in pairs:
                    found[key.start_mark.index] = value.start_mark.index, value.end_mark.index
                    todo.append(value)
            case yaml.SequenceNode(value=parts):
                todo += parts
    return found


def are_independent(one: Mistake, other: Mistake) -> bool:
    """What stands under a key that is none cannot be judged, and one place has room for one mistake."""
    if one.file != other.file:
        return True
    for outer, inner in ((one, other), (other, one)):
        begins, ends = spans_of_values(outer.file).get(outer.start, (0, 0))
        if outer.kind == "a misspelt key" and begins <= inner.start < ends:
            return False
    return one.end < other.start or other.end < one.start


def test_every_kind_of_mistake_can_be_made_and_is_one() -> None:
    assert {each.kind for each in ALL} == MISTAKES.keys()
    assert {each.file for each in ALL} == FILES.keys()
    for kind in MISTAKES:
        first = next(each for each in ALL if each.kind == kind)
        assert problems_of_one(first), first


def test_a_file_without_a_mistake_has_none() -> None:
    assert problems_of() == set()


def test_a_target_that_is_none_hides_no_limit_that_is_counted_in_variables() -> None:
    (limit, *_) = (each for each in ALL if each.kind == "a limit" and each.file == "rules/model.yaml")
    (target, *_) = (each for each in ALL if each.kind == "a target that is none" and each.file == "rules/model.yaml")
    problems = problems_of(limit, target)

    assert told(limit, target, problems)
    assert told(target, limit, problems)
    assert {each.line for each in problems} == {limit.line, target.line}


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from(ALL), st.sampled_from(ALL))
def test_of_two_mistakes_both_are_told(one: Mistake, other: Mistake) -> None:
    assume(are_independent(one, other))
    assume(problems_of_one(one) and problems_of_one(other))
    problems = problems_of(one, other)

    assert told(one, other, problems)
    assert told(other, one, problems)
