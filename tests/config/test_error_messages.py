"""One mistake each, from error_cases.txt: the place, and a fragment of what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.config.conftest import WriteConfig
from watchdog.config import load
from watchdog.documents.problems import ConfigError, Problem

CASES_TEXT = (Path(__file__).parent / "error_cases.txt").read_text(encoding="utf-8")
CASES = {
    name: (file, text, fragment)
    for file, name, fragment, text in re.findall(
        r"^=== (\S+) \| (.+?) \| (.+)\n((?:(?!===).*\n)+)", CASES_TEXT, re.MULTILINE
    )
}
LIBRARY_PHRASES = (
    "Extra inputs",
    "Input should",
    "Field required",
    "Value error",
    "pydantic",
    "valid tuple",
    "yaml.org",
    "<class",
)


def load_problems(write_config: WriteConfig, file: str, text: str) -> list[Problem]:
    folder = write_config({file: text})
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={})
    return [each._replace(file=str(Path(each.file).relative_to(folder))) for each in caught.value.problems]


def parse_position(text: str) -> tuple[int, int]:
    at = text.index("»")
    return text[:at].count("\n") + 1, at - text.rfind("\n", 0, at)


def test_every_heading_of_the_list_is_a_case() -> None:
    assert len(CASES) == CASES_TEXT.count("\n===")
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_named_once_at_its_place_and_in_plain_words(name: str, write_config: WriteConfig) -> None:
    file, text, fragment = CASES[name]
    (problem,) = load_problems(write_config, file, text.replace("»", ""))
    assert (problem.file, problem.line, problem.column) == (file, *parse_position(text)), problem
    assert fragment in f"{problem.what} — {problem.cure}"
    assert problem.what
    assert not [word for word in LIBRARY_PHRASES if word in str(problem)]
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("text", "column", "fragment"),
    [
        (f"rules: [{{name: x, kpi: errors, target: bot, warn: {{above: '{'9' * 400}'}}}}]\n", 59, "no quantity"),
        ("rules: [{name: x, kpi: errors, target: bot, warn: {above: 1e308x baseline}}]\n", 59, "no finite number"),
        (f"targets: {{x: {{cooldown: {'9' * 400}d}}}}\n", 25, "hundred years"),
    ],
)
def test_endless_numbers_are_no_limits(text: str, column: int, fragment: str, write_config: WriteConfig) -> None:
    (problem,) = load_problems(write_config, "rules/x.yaml", text)
    assert (problem.line, problem.column) == (1, column)
    assert fragment in problem.what
    assert len(str(problem)) < 300


def test_every_mistake_of_every_file_is_listed_at_once_in_order(write_config: WriteConfig) -> None:
    texts = [text for file, text, _ in CASES.values() if file == "rules/x.yaml" and "rules: [{name: x" in text]
    texts = [text.replace("name: x", f"name: x{number}") for number, text in enumerate(texts)]
    texts = [text.replace("»", "") for text in texts if "kpis:" not in text and "targets:" not in text]
    folder = write_config({f"rules/{number:02}.yaml": text for number, text in enumerate(texts)})
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={})
    listed = caught.value.problems
    assert listed == sorted(listed)
    assert [each.file for each in listed] == [str(folder / f"rules/{number:02}.yaml") for number in range(len(texts))]
    assert str(caught.value).splitlines() == [str(each) for each in listed]


def test_a_problem_reads_as_compilers_write_it() -> None:
    assert str(Problem("a.yaml", 3, 7, "wrong", "mend it")) == "a.yaml:3:7: wrong — mend it"
    assert str(Problem("a.yaml", 3, 7, "wrong")) == "a.yaml:3:7: wrong"


def test_a_broken_file_does_not_make_others_look_broken(write_config: WriteConfig) -> None:
    """What its unread half defines may be what the others refer to."""
    uses = "rules: [{name: x, kpi: from_broken, target: bot, crit: {above: 1, plan: also_from_broken}}]\n"
    folder = write_config({"rules/broken.yaml": "kpis: {a: [1\n", "rules/uses.yaml": uses})
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={})
    assert [Path(each.file).name for each in caught.value.problems] == ["broken.yaml"]


def test_a_broken_kpi_is_still_a_kpi(write_config: WriteConfig) -> None:
    text = "kpis: {x: {expr: x, unti: count}}\nrules: [{name: x, kpi: x, target: bot, warn: {above: 1}}]\n"
    assert [each.what for each in load_problems(write_config, "rules/x.yaml", text)] == ["unti is not known here"]


def test_what_the_environment_holds_is_not_shown(write_config: WriteConfig) -> None:
    folder = write_config(
        {"watchdog.yaml": 'sources: {a: {type: process, unit: "${SECRET}", cmdline: "(${SECRET}"}}\n'}
    )
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={"SECRET": "hunter2 hunter2"})
    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)
