"""Where a complaint of pydantic's belongs, in shapes that are hard to tell apart."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from watchdog.config.document import Loc
from watchdog.config.explain import Spot, explain, report_bare_durations
from watchdog.config.marks import parse
from watchdog.model import Duration, Part, Seq


class Sql(Part):
    do: Literal["sql"]
    sql: str
    query: str
    timeout: Duration | None = None


class Log(Part):
    do: Literal["log"]
    text: str | int = ""


class Inner(Part):
    a: int
    b: int = 0


class Outer(Part):
    steps: Seq[Annotated[Sql | Log, Field(discriminator="do")]] = ()
    either: str | Inner = ""
    spans: Seq[Duration] = ()


def explained(text: str) -> list[tuple[int, int, str]]:
    document = parse(text.encode(), "f")
    spot = Spot(document, (), document.data)
    report_bare_durations(spot, (Outer,))
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(document.data)
    explain(caught.value, spot, (Outer,))
    return [(problem.line, problem.column, f"{problem.what} — {problem.cure}") for problem in document.problems]


@pytest.mark.parametrize(
    ("text", "place", "fragment"),
    [
        ("steps: [{do: sql, sql: x, query: y, foo: 1}]\n", (1, 37), "foo is not known here"),
        ("steps: [{do: sql, sql: x}]\n", (1, 9), "query is missing"),
        ("steps: [{do: sql, query: x}]\n", (1, 9), "sql is missing"),
        ("steps: [{do: sql, sql: 5, query: x}]\n", (1, 24), "sql should be text"),
        ("steps: [{do: log, text: []}]\n", (1, 25), "text should be text or a whole number"),
        ("either: {a: 1, c: 2}\n", (1, 16), "c is not known here — known: a, b"),
        ("either: {a: x}\n", (1, 13), "a should be a whole number"),
        ("either: 5\n", (1, 9), "either should be text or a set of keys — put it in quotes"),
        ("steps:\n  - do: lgo\n", (2, 9), "there is no do lgo — did you mean log? known: log, sql"),
        ("steps:\n  - {}\n", (2, 5), "do is missing"),
    ],
)
def test_one_mistake_is_one_problem_at_its_place(text: str, place: tuple[int, int], fragment: str) -> None:
    ((line, column, said),) = explained(text)
    assert (line, column) == place
    assert fragment in said


def test_a_bare_duration_is_found_within_a_union() -> None:
    document = parse(b"steps: [{do: sql, sql: x, query: y, timeout: 5}, {do: log, text: 5}]\n", "f")
    report_bare_durations(Spot(document, (), document.data), (Outer,))
    assert [(problem.column, problem.what[:10]) for problem in document.problems] == [(46, "5 of what?")]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("either",), (2, 1), (2, 9)),
        (("steps", 0), (1, 9), (1, 9)),
        (("steps", 7, "do"), (1, 1), (1, 8)),
        (("no",), (1, 1), (1, 1)),
    ],
)
def test_what_stands_nowhere_is_pointed_at_where_it_should(
    path: Loc, key: tuple[int, int], value: tuple[int, int]
) -> None:
    document = parse(b"steps: [{do: log}]\neither: x\n", "f")
    spot = Spot(document, (), document.data)
    assert spot.key(*path) == key
    assert spot.value(*path) == value
