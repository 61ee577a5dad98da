"""Files of flags that somebody has made large, deep or crooked: read in little time, or refused with the reason."""

from __future__ import annotations

import time

import pytest
import yaml

from tests.actions.test_values import EDITS, REFUSED_EDITS
from watchdog.actions.values import yaml_file
from watchdog.actions.values.editor import set_values
from watchdog.core.errors import ActionError
from watchdog.host.atomic_file import MAX_BYTES

N = 20_000
SECONDS = 15.0
"""Of processor time. What grows with the square takes minutes here, what is linear a second or two."""

LARGE = {
    "flat.yaml": "flag: true\n" + "".join(f"key_{i}: value {i}\n" for i in range(N)),
    "list.yaml": "flag: true\nl:\n" + "".join(f"- [a, {i}, c]\n" for i in range(N)),
    "flow.yaml": "flag: true\na: {" + "".join(f"k{i}: {i}, " for i in range(N)) + "}\n",
    "anchors.yaml": "flag: true\n" + "".join(f"k{i}: &a{i} 1\n" for i in range(N)),
    "flat.json": '{"flag": true, ' + ",".join(f'"k{i}": {i}' for i in range(N)) + "}",
    "blank.json": '{"flag": true,' + " " * 900_000 + '"a": 1}',
    "flat.toml": "flag = true\n" + "".join(f"k{i} = {i}\n" for i in range(N)),
    "tables.toml": "flag = true\n" + "".join(f"[[t{i}]]\nb = 1\n" for i in range(N)),
    "blank.ini": "flag = true\na" + " " * 900_000 + "b\n",
    "value.ini": "flag = true\na = x" + " " * 900_000 + "b\n",
    "quotes.env": "flag=true\n" + "A='\n" * 100_000,
    "flat.py": "flag = True\n" + "".join(f"K{i} = {i}\n" for i in range(N)),
    "elif.py": "flag = True\nif a: pass\n" + "elif b: c = 1\n" * 500,
    "texts.py": "flag = True\n" + "a = f'{b}'\n" * N,
    "parts.py": "flag = True\na = f'" + "{a}" * 2_000 + "x" * 900_000 + "'\n",
    "dicts.py": "flag = True\na = [" + "{1: 2}, " * N + "]\n",
}
DEEP = {
    "flow.yaml": "flag: true\na: " + "[" * 900_000,
    "closed.yaml": "flag: true\na: " + "[" * 1_500 + "]" * 1_500 + "\n",
    "sets.yaml": "flag: true\na: " + "{a: " * 800 + "}" * 800 + "\n",
    "dashes.yaml": "flag: true\na:\n  " + "- " * 400_000 + "1\n",
    "keys.yaml": "flag: true\na:\n  " + "? " * 400_000 + "1\n",
    "lists.json": '{"flag": true, "a": ' + "[" * 400_000 + "]" * 400_000 + "}",
    "lists.toml": "flag = true\na = " + "[" * 400_000 + "]" * 400_000 + "\n",
    "key.toml": "flag = true\n" + ".".join(["a"] * 100_000) + " = 1\n",
    "quoted.toml": "flag = true\n" + ".".join(['"a"'] * 100_000) + " = 1\n",
    "elif.py": "flag = True\nif a: pass\n" + "elif b: c = 1\n" * 50_000,
    "signs.py": "flag = True\na = " + "-" * 900_000 + "1\n",
    "texts.py": "flag = True\na = f'" + "{a}" * 200_000 + "'\n",
    "lines.py": 'flag = True\na = Rf"""' + "{a}\n" * 200_000 + '"""\nb = (\n',
    "sum.py": "flag = True\na = " + "1 + " * 200_000 + "1\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_is_edited_in_little_time(name: str) -> None:
    content, started = LARGE[name].encode(), time.process_time()
    after = set_values(content, name, {"flag": False})
    assert after != content
    assert abs(len(after) - len(content)) <= 1
    assert time.process_time() - started < SECONDS


@pytest.mark.slow
def test_one_line_that_is_a_dict_of_thousands_is_edited_in_little_time() -> None:
    content = 'D = {"x": True, ' + "".join(f"'k{i}': {i}, " for i in range(60_000)) + "}\n"
    started = time.process_time()
    assert set_values(content.encode(), "a.py", {"D.x": False}) == content.replace("True", "False").encode()
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_file_is_refused_at_once_and_says_so(name: str) -> None:
    started = time.process_time()
    with pytest.raises(ActionError, match=r"nested|64 parts|2000 parts"):
        set_values(DEEP[name].encode(), name, {"flag": False})
    assert time.process_time() - started < SECONDS


LAUGHING = [("a", 0), *((f"k{n - 1}", n) for n in range(1, 12))]


def test_aliases_of_aliases_are_not_followed() -> None:
    laughs = "a: &a [x, x]\n" + "".join(f"k{n}: &k{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in LAUGHING)
    started = time.process_time()
    assert set_values(f"{laughs}flag: true\n".encode(), "c.yaml", {"flag": False}) == f"{laughs}flag: false\n".encode()
    with pytest.raises(ActionError, match="anchor"):
        set_values(laughs.encode(), "c.yaml", {"k11": False})
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("name", ["a", "l[k=1].on"])
def test_a_number_in_base_60_that_has_no_end_is_refused_at_once(name: str) -> None:
    number = "1" + ":1" * 200_000
    started = time.process_time()
    with pytest.raises(ActionError, match=r"no value that YAML knows|no member with k=1"):
        set_values(f"a: {number}\nl:\n- k: {number}\n  on: true\n".encode(), "c.yaml", {name: False})
    assert time.process_time() - started < SECONDS


def test_a_member_whose_key_has_no_meaning_is_not_the_one_that_is_named() -> None:
    content = "l:\n- k: 2024-99-99\n  on: true\n- k: 1\n  on: true\n"
    after = content[::-1].replace("eurt", "eslaf", 1)[::-1]
    assert set_values(content.encode(), "c.yaml", {"l[k=1].on": False}) == after.encode()


@pytest.mark.parametrize("suffix", ["py", "yaml", "json", "toml", "ini", "env"])
def test_a_file_beyond_the_limit_is_refused_before_it_is_read(suffix: str) -> None:
    with pytest.raises(ActionError, match="larger than 1024 KiB"):
        set_values(b"\xff" * (MAX_BYTES + 1), f"c.{suffix}", {"flag": False})


def find(text: str, name: str, loader: object) -> object:
    try:
        return yaml_file.find_value(text, "c.yaml", name, loader)
    except ActionError as error:
        return str(error).partition(" is no YAML that can be edited")[0]  # each has its own words for that


CASES = [
    *((old, name) for file, old, values, _ in EDITS if file == "c.yaml" for name in values),
    *((content, flag) for file, content, flag, _ in REFUSED_EDITS if file == "c.yaml" and isinstance(content, str)),
    ("ü: ä\nb: [ö, 'x']  # é\nflag: 'on'\n", "b"),
    ("a: &x {flag: 1}\n", "a.flag"),
    ("a.b: {c: 1}\na: {b.c: 2}\n", "a.b.c"),
    ("? [k]\n: 1\n? {a: 1}\n: 2\nflag: 3\n", "flag"),
    ("flag:\nb: 1\n", "flag"),
    ("- flag: 1\n", "flag"),
    ("*a : 1\nflag: 2\n", "flag"),
    ("flag: [1, [2]]\n", "flag"),
    ("a: 1\n--- \nflag: 1\n", "flag"),
    ("", "flag"),
]


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml: there is one loader only")
@pytest.mark.parametrize(("text", "name"), CASES)
def test_both_parsers_find_the_same_value_at_the_same_place(text: str, name: str) -> None:
    assert find(text, name, yaml.CSafeLoader) == find(text, name, yaml.SafeLoader)
