"""A value is replaced by one of its own type, or not at all: a bot takes 'off' for true."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.actions import make_action
from watchdog.actions.values.editor import ensure_same_types
from watchdog.actions.values.located_value import Value
from watchdog.core.errors import ActionError
from watchdog.core.target import Target

TYPED = {
    "c.py": {True: "True", "x": "'x'", 5: "5", 0.5: "0.5", None: "None", ("x",): "['x']", (1, 2.5): "(1, 2.5)"},
    "c.yaml": {True: "yes", "x": "x", 5: "5", 0.5: "0.5", None: "~", ("x",): "[x]", (1, 2.5): "[1, 2.5]"},
    "c.json": {True: "true", "x": '"x"', 5: "5", 0.5: "0.5", None: "null", ("x",): '["x"]', (1, 2.5): "[1, 2.5]"},
    "c.toml": {True: "true", "x": "'x'", 5: "5", 0.5: "0.5", ("x",): "['x']", (1, 2.5): "[1, 2.5]"},
}
LINES = {"c.py": "A = {}\n", "c.yaml": "A: {}\n", "c.json": '{{"A": {}}}\n', "c.toml": "A = {}\n"}
NEW: dict[str, list[Value]] = {
    "boolean": [False],
    "text": ["y", "off", "5", ""],
    "number": [7, -1.5],
    "null": [None],
    "texts": [("y", "z"), ("y", None)],
    "numbers": [(3,), (1.5, 2)],
    "nothing": [()],
}
FITS: list[tuple[Value, set[str]]] = [
    (True, {"boolean"}),
    ("x", {"text", "null"}),
    (5, {"number", "null"}),
    (0.5, {"number", "null"}),
    (None, {*NEW}),
    (("x",), {"texts", "nothing", "null"}),
    ((1, 2.5), {"numbers", "nothing", "null"}),
]
CASES = [
    (name, old, kind, value, kind in fits)
    for name in TYPED
    for old, fits in FITS
    if old in TYPED[name]
    for kind, values in NEW.items()
    for value in values
]


def refusal(name: str, content: str, value: Value, flag: str = "A") -> str | None:
    try:
        ensure_same_types(content.encode(), name, {flag: value})
    except ActionError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "kind", "value", "fits"), CASES)
def test_a_value_takes_the_place_of_one_of_its_own_type_only(
    name: str, old: Value, kind: str, value: Value, fits: bool
) -> None:
    content = LINES[name].format(TYPED[name][old])

    assert (refusal(name, content, value) is None) is fits, (content, kind, value)


@pytest.mark.parametrize("word", ["off", "no", "on", "yes", "Off", "NO"])
@pytest.mark.parametrize("name", TYPED)
def test_a_switch_word_for_a_truth_value_is_told_what_it_is_and_what_to_write(name: str, word: str) -> None:
    meant = "false" if word.lower() in ("off", "no") else "true"

    said = refusal(name, LINES[name].format(TYPED[name][True]), word)

    assert said == (
        f"A in {name} is true or false there ({TYPED[name][True]}), and '{word}' is a text in these files, not a truth "
        f"value as in older YAML: the bot may well take it for true — write {meant}, without quotes"
    )


@pytest.mark.parametrize(
    ("name", "content", "value", "cure"),
    [
        ("c.py", "A = True\n", "false", "write false, without quotes"),
        ("c.py", "A = True\n", 0, "write true or false, without quotes"),
        ("c.py", "A = 5\n", "6", "write 6, without quotes"),
        ("c.py", "A = 5\n", "six", "write a number"),
        ("c.py", "A = 1\n", False, "write a number"),
        ("c.py", "A = 'x'\n", 5, "write a text, in quotes"),
        ("c.py", "A = 'true'\n", False, "write a text, in quotes"),
        ("c.py", "A = [1]\n", 5, "write a list: [A, B]"),
        ("c.py", "A = [1]\n", ("5",), "write 5, without quotes"),
        ("c.py", "A = ['x']\n", (5,), "write a text, in quotes"),
        ("c.py", "A = 'x'\n", ("y",), "write a text, in quotes"),
    ],
)
def test_the_refusal_ends_with_what_to_write(name: str, content: str, value: Value, cure: str) -> None:
    said = refusal(name, content, value)

    assert said is not None
    assert said.partition(" — ")[2] == cure


def test_a_truth_value_and_null_are_called_so() -> None:
    said = [refusal("c.yaml", "A: 5\n", False), refusal("c.yaml", "A: true\n", None)]

    assert said == [
        "A in c.yaml is a number there (5), and false is a truth value — write a number",
        "A in c.yaml is true or false there (true), and null is neither — write true or false, without quotes",
    ]


@pytest.mark.parametrize("written", ["1e-5", "1.0e5", "5e3"])
def test_a_number_that_only_newer_yaml_takes_for_one_is_replaced_by_a_number_or_a_text(written: str) -> None:
    assert refusal("c.yaml", f"A: {written}\n", 0.1) is None
    assert refusal("c.yaml", f"A: '{written}'\n", 0.1) is not None


def test_a_value_that_is_so_already_needs_no_type_of_its_own() -> None:
    assert refusal("c.py", "A = (1, 'x')\n", (1, "x")) is None
    assert refusal("c.json", '{"a": {"b": null}}\n', None, "a.b") is None


WORDS: list[tuple[str, list[Value], list[Value]]] = [
    ("true", [False, "false", "true"], ["off", "False", "0", 0, "x", None, "", 5]),
    ("True", [False, "False"], ["false", "off", None]),
    ("on", [False, "off"], ["false", 0, "x", None]),
    ("yes", [True, "no"], ["off", "nope"]),
    ("1", [False, 0, 5, "0", "7", None, ""], ["off", "false", "x"]),
    ("5", [7, "7", -1.5, None, ""], [True, False, "off", "auto"]),
    ("1e-5", [0.1, "2e-5"], [False, "x"]),
    ("INFO", ["DEBUG", 10, "5", None, "off"], [True, False]),
    ("NO", [False, "YES"], ["DE"]),
    ("T", ["AAPL", False, 5], []),
    ("5m", ["10m", 5], [False]),
    ("", [True, False, 5, "x", None], []),
]


@pytest.mark.parametrize(("written", "fit", "refused"), WORDS)
@pytest.mark.parametrize(("name", "line", "flag"), [(".env", "A={}\n", "A"), ("c.ini", "[s]\na = {}\n", "s.a")])
def test_where_all_is_text_the_words_stay_what_they_are(
    name: str, line: str, flag: str, written: str, fit: list[Value], refused: list[Value]
) -> None:
    content = line.format(written)

    assert [value for value in fit if refusal(name, content, value, flag)] == []
    assert [value for value in refused if refusal(name, content, value, flag) is None] == []


def test_a_switch_word_in_a_env_file_is_told_that_the_files_own_word_is_kept() -> None:
    assert refusal(".env", "A=TRUE\n", "off") == (
        "A in .env is TRUE there, whose counterpart is not 'off' — write false: it gets the file's own word"
    )


@pytest.mark.parametrize(
    ("file", "content", "flags"),
    [
        ("config.py", "FEATURE_HMM_V2 = True\n", {"FEATURE_HMM_V2": "off"}),
        ("config.py", "SIZE = 5\nFEATURE_HMM_V2 = True\n", {"SIZE": 6, "FEATURE_HMM_V2": "off"}),
        ("s.yaml", "features: {hmm_v2: on}\n", {"features.hmm_v2": "off"}),
        ("s.toml", "[features]\nhmm_v2 = true\n", {"features.hmm_v2": "off"}),
        ("s.json", '{"size": 5}', {"size": "6"}),
        ("s.ini", "[a]\nb = true\n", {"a.b": "off"}),
        (".env", "HMM_V2=true\n", {"HMM_V2": "off"}),
    ],
)
def test_a_value_of_another_type_is_refused_before_anything_is_done(
    tmp_path: Path, file: str, content: str, flags: dict[str, Value]
) -> None:
    (tmp_path / file).write_text(content)
    step = make_action(do="flag", file=file, set=flags).bind(Target(repo=str(tmp_path)))
    (finding,) = step.findings()

    with pytest.raises(ActionError, match="there") as refused:
        step.capture()

    assert (finding.kind, finding.key) == ("unfit", ("set", [*flags][-1]))
    assert str(refused.value) == f"{finding.what} — {finding.cure}"
    assert (tmp_path / file).read_text() == content
