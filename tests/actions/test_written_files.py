"""Any edit of any file: the format's own parser finds the wanted value and nothing else changed; comments stay."""

from __future__ import annotations

import configparser
import copy
import json
import re
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.actions.written_files import PLAIN, SCALARS, written_files
from tests.support.property_settings import examples
from watchdog.actions.values.editor import has_values, set_values
from watchdog.core.errors import ActionError

FORMATS = ["json", "yaml", "toml", "py"]
Path = tuple[str | int, ...]


def value_paths(value: Any, way: Path = ()) -> list[Path]:
    """Of every value that a flag can be: scalars and lists of scalars."""
    if isinstance(value, dict):
        return [path for key, inner in value.items() for path in value_paths(inner, (*way, key))]
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return [path for place, inner in enumerate(value) for path in value_paths(inner, (*way, place))]
    if isinstance(value, list):
        return [way, *((*way, place) for place in range(len(value)))]
    return [way]


def value_at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


@st.composite
def names(draw: st.DrawFn, document: Any, path: Path) -> str:
    """One of the ways to write a path: a member by its place, or by a key whose value no other has."""
    text = ""
    for at, step in enumerate(path):
        if isinstance(step, str):
            text += f"{'.' if text else ''}{json.dumps(step, ensure_ascii=False) if '.' in step else step}"
            continue
        members = value_at(document, path[:at])
        marks = [
            (key, value)
            for key, value in (members[step].items() if isinstance(members[step], dict) else ())
            if isinstance(value, str)
            and key not in path[at + 1 : at + 2]
            and "." not in key
            and sum(isinstance(one, dict) and one.get(key) == value for one in members) == 1
        ]
        by_key: bool = draw(st.booleans())
        if marks and by_key:
            key, value = draw(st.sampled_from(marks))
            text += f"[{key}={json.dumps(value, ensure_ascii=False)}]"
        else:
            text += f"[{step}]" if by_key else f".{step}"
    return text


@st.composite
def wanted_values(draw: st.DrawFn, old: Any) -> Any:
    if not isinstance(old, list):
        return draw(SCALARS)
    some = draw(st.permutations(old))[: draw(st.integers(0, len(old)))]
    return [
        *some,
        *draw(st.lists(PLAIN if all(isinstance(one, str) for one in old) else st.integers(10, 19), max_size=2)),
    ]


def comments(text: str, sign: str) -> set[str]:
    return set(re.findall(rf"{sign} own, \d+", text))


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=examples(100))
@given(st.data())
def test_an_edit_changes_the_value_that_it_names_and_nothing_else(kind: str, data: st.DataObject) -> None:
    written = data.draw(written_files(kind))
    assert written.read(written.text) == written.document
    path = data.draw(st.sampled_from(value_paths(written.document)))
    name = data.draw(names(written.document, path))
    old = value_at(written.document, path)
    wanted = data.draw(wanted_values(old))
    flag = tuple(wanted) if isinstance(wanted, list) else wanted
    name = f"CONFIG.{name}" if kind == "py" and not name.startswith("[") else f"CONFIG{name}" if kind == "py" else name

    after = set_values(written.text.encode(), written.name, {name: flag}).decode()

    expected = copy.deepcopy(written.document)
    value_at(expected, path[:-1])[path[-1]] = wanted
    found = written.read(after)
    assert found == expected
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)  # 1 is not True
    assert has_values(after.encode(), written.name, {name: flag})
    assert set_values(after.encode(), written.name, {name: flag}).decode() == after
    sign = "//" if kind == "json" else "#"
    assert comments(after, sign) == comments(written.text, sign)
    assert ("\r\n" in after) <= ("\r\n" in written.text)
    assert "\r\r" not in after
    assert "\n" not in after.replace("\r\n", "") or "\r\n" not in written.text
    if not isinstance(old, list):  # else its lines go and come
        assert len(after.splitlines()) == len(written.text.splitlines())


@settings(max_examples=examples(100))
@given(st.data())
def test_items_of_a_list_that_stay_are_written_as_they_were(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(FORMATS))
    old = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))
    literal = {
        one: data.draw(st.sampled_from([f"'{one}'", f'"{one}"'])) if kind != "json" else f'"{one}"' for one in old
    }
    sign = "//" if kind == "json" else "#"
    rows = [f"    {literal[one]},  {sign} about {one}\n" for one in old]
    head, tail = {
        "json": ('{"A": [\n', "  ]}\n"), "yaml": ("A: [\n", "  ]\n"), "toml": ("A = [\n", "]\n"), "py": ("A = [\n", "]\n")
    }[kind]  # fmt: skip
    wanted = data.draw(st.permutations(old))[: data.draw(st.integers(1, len(old)))] + data.draw(
        st.lists(st.sampled_from("xyz"), unique=True, max_size=2)
    )

    after = set_values((head + "".join(rows) + tail).encode(), f"c.{kind}", {"A": tuple(wanted)}).decode()

    lines = after.removeprefix(head).removesuffix(tail).splitlines(keepends=True)
    assert after == head + "".join(lines) + tail
    assert [line in rows for line in lines] == [one in old for one in wanted]
    assert [re.search("[a-z]", line)[0] for line in lines] == list(wanted)  # type: ignore[index]


ENV_VALUES = st.text("abcXYZ019_./:=-# '\"\\$;&`äß", max_size=8)
ENV_LINES = st.sampled_from(
    ["# a comment", "", "  ", "# A=1", "#\\", "B='x", "B=it's", 'B="a\nA=1"', "B=x\\", "B=x;A=1", "C=y"]
)


@settings(max_examples=examples(100))
@given(st.lists(ENV_LINES, max_size=3), ENV_VALUES, st.sampled_from(["", "'", '"']), st.lists(ENV_LINES, max_size=2))
def test_a_shell_and_a_reader_by_line_find_the_new_value_and_nothing_else_changed(
    ahead: list[str], value: str, quote: str, behind: list[str]
) -> None:
    text = "\n".join([*ahead, f"A={quote}{value}{quote}", *behind, "Z=1"]) + "\n"
    try:
        after = set_values(text.encode(), ".env", {"A": "new"}).decode()
    except ActionError:
        return  # readers differ, and it says so

    by_line = [line for line in after.splitlines() if line.startswith("A=")]
    assert any(re.fullmatch(r"A= *(['\"]?)new\1(\s+#.*|\s*)", line) for line in by_line)
    before_shell, after_shell = read_by_shell(text), read_by_shell(after)
    if before_shell is not None:
        assert after_shell is not None
        assert after_shell.pop("A") == "new"
        before_shell.pop("A", None)
        assert after_shell == before_shell
    assert after.splitlines()[-1] == "Z=1"
    changed = [pair for pair in zip(text.split("\n"), after.split("\n"), strict=True) if pair[0] != pair[1]]
    assert len(changed) <= 1


def read_by_shell(text: str) -> dict[str, str] | None:
    """None: it says that this is no shell script."""
    script = f'set -e; unset A B C Z\n{text}\nfor n in A B C Z; do eval "printf \'%s=%s\\\\0\' $n \\"\\${{$n-unset}}\\""; done'
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, env={"PATH": "/nonexistent"})
    if ran.returncode != 0 or ran.stderr:
        return None
    return dict(pair.split("=", 1) for pair in ran.stdout.decode("utf-8", "replace").split("\0") if "=" in pair)


INI_LINES = st.sampled_from(
    ["", "; c", "  ; c", "# a = 1", "a = 5", "  a = 6", "b = 1", "  b: 2", "b =", "    more", "\tc = x", "[s]", "  [t]", "A=7"]
)  # fmt: skip


@settings(max_examples=examples(300))
@given(st.lists(INI_LINES, min_size=1, max_size=8), st.sampled_from(["s.a", "t.a", "u.a", "s.b", "t.b"]), st.booleans())
def test_configparser_finds_the_new_value_and_nothing_else_changed(lines: list[str], name: str, returns: bool) -> None:
    text = ("\r\n" if returns else "\n").join(["[s]", *lines, ""])
    try:
        before = read_ini(text)
        after = set_values(text.encode(), "c.ini", {name: "new"}).decode()
    except (configparser.Error, ActionError):
        return

    section, _, key = name.partition(".")
    before[section][key] = "new"
    assert read_ini(after) == before


def read_ini(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return {section: dict(parser[section]) for section in parser.sections()}
