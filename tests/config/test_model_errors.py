"""Where a complaint of pydantic's belongs, in shapes that are hard to tell apart."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from watchdog.config.model_errors import ConfigNode, report_bare_durations, report_model_errors
from watchdog.core.model import ConfigModel, Duration, FrozenList
from watchdog.documents.document import KeyPath
from watchdog.documents.yaml_loader import parse_document


class Sql(ConfigModel):
    do: Literal["sql"]
    sql: str
    query: str
    timeout: Duration | None = None


class Log(ConfigModel):
    do: Literal["log"]
    text: str | int = ""


class Inner(ConfigModel):
    a: int
    b: int = 0


class Outer(ConfigModel):
    steps: FrozenList[Annotated[Sql | Log, Field(discriminator="do")]] = ()
    either: str | Inner = ""
    spans: FrozenList[Duration] = ()


def positions_of_errors(text: str) -> list[tuple[int, int, str]]:
    document = parse_document(text.encode(), "f")
    spot = ConfigNode(document, (), document.data)
    report_bare_durations(spot, (Outer,))
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(document.data)
    report_model_errors(caught.value, spot, (Outer,))
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
    ((line, column, said),) = positions_of_errors(text)
    assert (line, column) == place
    assert fragment in said


def test_a_bare_duration_is_found_within_a_union() -> None:
    document = parse_document(b"steps: [{do: sql, sql: x, query: y, timeout: 5}, {do: log, text: 5}]\n", "f")
    report_bare_durations(ConfigNode(document, (), document.data), (Outer,))
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
    path: KeyPath, key: tuple[int, int], value: tuple[int, int]
) -> None:
    document = parse_document(b"steps: [{do: log}]\neither: x\n", "f")
    spot = ConfigNode(document, (), document.data)
    assert spot.key_position(*path) == key
    assert spot.value_position(*path) == value
