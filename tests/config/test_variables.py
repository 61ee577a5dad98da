"""``${…}`` in rule files: what it is worth, and what is refused."""

from __future__ import annotations

import pytest

from watchdog.config.variables import Value, VariableError, evaluate, fill, has_places, names_in

BOT: dict[str, Value] = {"bar": "20ms", "day": "1d", "n": 3, "share": 0.5, "flag": "V2", "on": True}
ODD: dict[str, Value] = {"less": -5, "big": 10**400, "endless": float("inf"), "none": float("nan")}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("flag", "V2"),
        ("on", True),
        ("600 * bar", "12s"),
        ("bar * 5", "100ms"),
        ("0.5 * day", "12h"),
        ("0.001 * bar", "1ms"),
        ("n * 2", 6),
        ("share * n", 1.5),
        ("max(60 * bar, 5s)", "5s"),
        ("max(600 * bar, 5s)", "12s"),
        ("min(n, 2, 7)", 2),
        ("max(min(bar, 1s), 10ms)", "20ms"),
    ],
)
def test_what_stands_in_the_braces_is_worked_out(text: str, wanted: Value) -> None:
    assert evaluate(text, BOT) == wanted


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("baz", "there is no variable baz"),
        ("", "names no variable"),
        ("bar + 1", "names no variable"),
        ("bar * bar", "cannot be multiplied"),
        ("2 * on", "cannot be multiplied"),
        ("2 * 3 * bar", "one product"),
        ("2 * flag", "a duration reads like"),
        ("max(bar)", "nothing to compare"),
        ("max(bar, 3)", "the same unit"),
        ("max(bar, flag)", "a duration reads like"),
        ("__import__('os')", "names no variable"),
        ("less * bar", "comes to nothing"),
        ("big * share", "comes to nothing"),
        ("endless * bar", "comes to nothing"),
        ("none * bar", "comes to nothing"),
        ("9" * 5_000, "too long"),
        ("9" * 400 + " * bar", "a duration reads like"),
        ("max(" * 3_000 + "1" + ", 1)" * 3_000, "too long"),
    ],
)
def test_what_cannot_be_worked_out_is_said(text: str, what: str) -> None:
    with pytest.raises(VariableError, match=what):
        evaluate(text, BOT | ODD)


def filled(raw: object) -> tuple[object, list[str]]:
    problems: list[str] = []
    return fill(raw, BOT, {*BOT, "other"}, lambda path, text: problems.append(f"{path}: {text}")), problems


def test_variables_stand_in_keys_and_values_and_keep_their_type_where_they_stand_alone() -> None:
    raw = {"set": {"${flag}": "${on}"}, "windows": ["increase(x[${600 * bar}])", "${n}", "${n} of 5"], "kept": 7}

    assert filled({"is ${on}": 1, "${on}": 2}) == ({"is true": 1, "true": 2}, [])
    assert filled(raw) == ({"set": {"V2": True}, "windows": ["increase(x[12s])", 3, "3 of 5"], "kept": 7}, [])


def test_a_name_that_nobody_declares_is_text_and_so_is_what_is_escaped() -> None:
    assert filled("echo ${HOME} $${flag} $flag {{ value }}") == ("echo ${HOME} ${flag} $flag {{ value }}", [])
    assert not has_places("echo ${HOME}", BOT)
    assert has_places("${600 * HOME}", BOT)


def test_a_name_that_another_target_has_is_missing_here() -> None:
    value, problems = filled({"file": "${other}.py"})

    assert problems == ["('file',): there is no variable other — known: bar, day, flag, n, on, share"]
    assert value == {"file": ".py"}


def test_the_names_in_a_text_are_those_that_must_be_there() -> None:
    assert names_in({"${flag}": ["${max(60 * bar, 5s)}", "$${n}", "3 of 5"]}) == {"flag", "bar"}
