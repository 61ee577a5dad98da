"""Whatever stands in the files: a Config or a ConfigError."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.conftest import BASE_RULES, MAIN_YAML
from tests.support.property_settings import examples
from watchdog.config import Config, check_files, load
from watchdog.documents.problems import ConfigError, Problem

SHIPPED = sorted((Path(__file__).parents[2] / "rules").glob("*.yaml"))
TEXTS = [BASE_RULES, *(path.read_text(encoding="utf-8") for path in SHIPPED)]
FRAGMENTS = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "'",
    '"',
    "|",
    ">",
    "*a",
    "&a ",
    "!x ",
    "#",
    " #",
    "<<: ",
    "? ",
    "null",
    "true",
    "no",
    "1",
    "-1",
    "1e999",
    "9" * 30,
    "9" * 400 + "d",
    "0x1",
    "{}",
    "[]",
    "''",
    '"\\0"',
    '"\\ud800"',
    "---\n",
    "${X}",
    "${",
    "{{ x }}",
    "10%",
    "2x baseline",
    "baseline - 5pp",
    "5 of 3",
    "\ufeff",
    "\u2028",
    "é",
    "\U0001f600",
    "\x00",
    "halt",
    "repair",
    "kind: halt",
    "do: flag",
    "do: {}",
    "type: scrape",
    "leave-running",
    "rate(a[5m",
    "a / 0",
    "..",
    "/",
]


@st.composite
def mutated(draw: st.DrawFn, texts: list[str]) -> bytes:
    """A sound file with some cuts, insertions and doubled or swapped lines."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["cut", "insert", "value", "double", "indent"])):
            case "cut":
                text = text[:at] + text[at + draw(st.integers(1, 30)) :]
            case "insert":
                text = text[:at] + draw(st.sampled_from(FRAGMENTS)) + text[at:]
            case "value":  # what stands behind the next colon becomes something else
                colon = text.find(": ", at)
                end = min((found for mark in "\n,}" if (found := text.find(mark, colon)) >= 0), default=len(text))
                text = text[: colon + 2] + draw(st.sampled_from(FRAGMENTS)) + text[end:] if colon >= 0 else text
            case "double":
                line = text[: text.find("\n", at) + 1].rpartition("\n")[0]
                text = text[:at] + line[-80:] + text[at:]
            case "indent":
                text = text[:at].rpartition("\n")[0] + "\n  " + text[at:]
    return text.encode("utf-8", "surrogatepass")


def load_problems(folder: Path) -> list[Problem]:
    try:
        assert isinstance(load(folder, environ={"X": "x"}), Config)
    except ConfigError as error:
        return error.problems or [Problem("", 0, 0, "nothing was said")]
    return []


def assert_loads_or_refuses(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules").mkdir()
        for path, raw in {"watchdog.yaml": MAIN_YAML.encode(), **files}.items():
            (folder / path).write_bytes(raw)
        for problem in load_problems(folder):
            lines = Path(problem.file).read_bytes().count(b"\n") + 1
            assert 1 <= problem.line <= lines + 1
            assert problem.column >= 1
            assert str(problem).isprintable()
        config, problems = check_files([folder / "rules"], environ={})
        assert (config is None) == bool(problems)


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_answered(raw: bytes) -> None:
    assert_loads_or_refuses({"rules/x.yaml": raw, "watchdog.yaml": raw})


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_random_pieces_of_yaml_are_answered(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    assert_loads_or_refuses({"rules/x.yaml": raw, "watchdog.yaml": raw})


@settings(max_examples=examples(200), deadline=None)
@given(mutated(TEXTS))
def test_a_damaged_rule_file_is_answered(raw: bytes) -> None:
    assert_loads_or_refuses({"rules/x.yaml": raw})


@settings(max_examples=examples(100), deadline=None)
@given(
    mutated(
        [MAIN_YAML, MAIN_YAML + 'web: {listen: "127.0.0.1:0"}\nstate: /x\n' + "  p: {type: process, unit: b.service}\n"]
    )
)
def test_a_damaged_watchdog_yaml_is_answered(raw: bytes) -> None:
    assert_loads_or_refuses({"watchdog.yaml": raw, "rules/base.yaml": BASE_RULES.encode()})
