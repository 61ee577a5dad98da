from __future__ import annotations

import configparser
import json
import tomllib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watchdog.actions.values.editor import get_values, has_values, set_values, validate_values
from watchdog.actions.values.located_value import Value
from watchdog.core.errors import ActionError

EDITS: list[tuple[str, str, dict[str, Any], str]] = [
    # Python
    ("c.py", "A = True\n", {"A": False}, "A = False\n"),
    ("c.py", "A: bool = True  # why\n", {"A": False}, "A: bool = False  # why\n"),
    ("c.py", "x = 1; A = True; y = 2\r\nz = 3\r\n", {"A": False}, "x = 1; A = False; y = 2\r\nz = 3\r\n"),
    ("c.py", "\ufeffA = 1\n", {"A": 2}, "\ufeffA = 2\n"),
    ("c.py", "# ä€😀\nß = 'ä€😀'; A = 1\n", {"A": 2}, "# ä€😀\nß = 'ä€😀'; A = 2\n"),
    ("c.py", "A = 'x'\n", {"A": "it's"}, 'A = "it\'s"\n'),
    ("c.py", 'A = "x"\n', {"A": "y"}, 'A = "y"\n'),
    ("c.py", "A = 'x'\n", {"A": "a\nb"}, "A = 'a\\nb'\n"),
    ("c.py", "A = -1.5\n", {"A": 2.5e-7}, "A = 2.5e-07\n"),
    ("c.py", "A = None", {"A": "on"}, "A = 'on'"),
    ("c.py", "A = (True)\n", {"A": None}, "A = (None)\n"),
    ("c.py", "A = \\\n  True\n", {"A": False}, "A = \\\n  False\n"),
    (
        "c.py",
        "A = 1\ndef f():\n    A = 2\nclass C:\n    A = 3\n",
        {"A": 5},
        "A = 5\ndef f():\n    A = 2\nclass C:\n    A = 3\n",
    ),
    ("c.py", "A = 1\nB = 'A = 2'\n", {"A": 5, "B": "x"}, "A = 5\nB = 'x'\n"),
    ("c.py", "A = 1\x0c\nB = 2\n", {"B": 3}, "A = 1\x0c\nB = 3\n"),
    (
        "c.py",
        "A = 1\nprint([A for A in (1, 2)], lambda A: A)\n",
        {"A": 2},
        "A = 2\nprint([A for A in (1, 2)], lambda A: A)\n",
    ),
    ("c.py", "A = ['BTC/USDT', 'ETH/USDT']  # pairs\n", {"A": ("BTC/USDT",)}, "A = ['BTC/USDT']  # pairs\n"),
    ("c.py", 'A = ("x", "y")\n', {"A": ("x",)}, 'A = ("x",)\n'),
    ("c.py", "A = 5\n", {"A": ()}, "A = []\n"),
    (
        "c.py",
        "class Config:\n    A: bool = True\nA = 3\n",
        {"Config.A": False},
        "class Config:\n    A: bool = False\nA = 3\n",
    ),
    ("c.py", "C = {'a': {'b': 1}, 'a.c': 2}\n", {"C.a.b": 5, "C.a.c": 6}, "C = {'a': {'b': 5}, 'a.c': 6}\n"),
    (
        "c.py",
        "class S:\n  C = dict(\n    a=1,  # ä\n  )\n",
        {"S.C.a": 2},
        "class S:\n  C = dict(\n    a=2,  # ä\n  )\n",
    ),
    ("c.py", "from x import *\nA = 1\n", {"A": 2}, "from x import *\nA = 2\n"),
    ("c.py", "A = 1, 2\n", {"A": (3,)}, "A = 3,\n"),
    ("c.py", "A = 1,\n", {"A": (3, 4)}, "A = 3, 4\n"),
    ("c.py", "A = 1, 2\n", {"A": ()}, "A = ()\n"),
    ("c.py", "A = (1), 2\n", {"A": (3, 4)}, "A = (3, 4)\n"),
    ("c.py", "A: tuple = 1, 2  # c\n", {"A": (2,)}, "A: tuple = 2,  # c\n"),
    ("c.py", "A = (\n    'x',  # one\n    'y',\n)\n", {"A": ("y",)}, "A = (\n    'y',\n)\n"),
    ("c.py", "A = [0x10, 5]\n", {"A": (16,)}, "A = [0x10]\n"),
    (
        "c.py",
        "P = [{'m': 'V', 'n': 5}, dict(m='A', n=6), {7: 1}]\n",
        {"P[m=A].n": 7, "P.0.n": 8, "P[2].7": 9},
        "P = [{'m': 'V', 'n': 8}, dict(m='A', n=7), {7: 9}]\n",
    ),
    (
        "c.py",
        "P = {'.a': 1, 'b.': {'.': 2}, 'c': [[1, 2]]}\n",
        {'P.".a"': 3, "P.'b.'.'.'": 4, "P.c[0][1]": 5},
        "P = {'.a': 3, 'b.': {'.': 4}, 'c': [[1, 5]]}\n",
    ),
    (
        "c.py",
        "C = {'env': {'ex': {'B': 1}}, 'app': {'d': 1}}\nfor key in x:\n    C['env']['ex'][key] = {}\nC['new'] = 1\n",
        {"C.app.d": 2},
        "C = {'env': {'ex': {'B': 1}}, 'app': {'d': 2}}\nfor key in x:\n    C['env']['ex'][key] = {}\nC['new'] = 1\n",
    ),
    ("c.py", "C = {'a': 1, 'b': 2}\nC.update({'a': 3})\n", {"C.b": 4}, "C = {'a': 1, 'b': 4}\nC.update({'a': 3})\n"),
    ("c.py", "A = 1\nB = []\nB.append(A)\n", {"A": 2}, "A = 2\nB = []\nB.append(A)\n"),
    # JSON with comments
    ("c.json", '{"a": true}', {"a": False}, '{"a": false}'),
    ("c.json", '\ufeff{"a": 1}\n', {"a": 2}, '\ufeff{"a": 2}\n'),
    (
        "c.json",
        '{\r\n // "a": 1,\r\n "a": 2, /* "a": 3 */\r\n}',
        {"a": 4},
        '{\r\n // "a": 1,\r\n "a": 4, /* "a": 3 */\r\n}',
    ),
    (
        "c.jsonc",
        '{"x": {"y": ["//", "a", {}],}, "x.z": -1.5e3,}',
        {"x.z": 2},
        '{"x": {"y": ["//", "a", {}],}, "x.z": 2,}',
    ),
    ("c.json", '{"a": ["BTC/USDT", "ETH/USDT"]}', {"a": ("BTC/USDT",)}, '{"a": ["BTC/USDT"]}'),
    ("c.json", '{"a": "x\\"y", "b": null}', {"a": "ä\n", "b": 0.1}, '{"a": "ä\\n", "b": 0.1}'),
    ("c.json", '{"a": {"b": 1}, "c": {"b": 1}}', {"c.b": 2}, '{"a": {"b": 1}, "c": {"b": 2}}'),
    (
        "c.json",
        '{"a": [\n  "x", // one\n  // head\n  "y"\n]}',
        {"a": ("z", "x")},
        '{"a": [\n  "z",\n  "x" // one\n  // head\n]}',
    ),
    ("c.json", '{"a": [\n  "x",\n  "y"\n]}', {"a": ()}, '{"a": []}'),
    ("c.json", '{"a": [\n  // keep\n  "x"\n]}', {"a": ()}, '{"a": [\n  // keep\n]}'),
    ("c.json", '{"a": [\n  // keep\n]}', {"a": ("x", "y")}, '{"a": [\n  // keep\n  "x",\n  "y"\n]}'),
    ("c.json", '{"a": ["x", // c\n "y"]}', {"a": ("y", "x")}, '{"a": [\n "y",\n "x" // c\n]}'),
    (
        "c.json",
        '{"p": [{"m": "V", "n": 5}, {"m": "A", "n": 6}]}',
        {"p[m=A].n": 7, "p.0.n": 8},
        '{"p": [{"m": "V", "n": 8}, {"m": "A", "n": 7}]}',
    ),
    ("c.json", '[{"a": 1}]', {"[0].a": 2}, '[{"a": 2}]'),
    # TOML
    ("c.toml", "a = true # why\nb = 1\n", {"a": False}, "a = false # why\nb = 1\n"),
    ("c.toml", "a = 1\r\n[x.y]\r\na = 2 # a\r\n", {"x.y.a": 3}, "a = 1\r\n[x.y]\r\na = 3 # a\r\n"),
    ("c.toml", "[x]\ny.z = {a = 1, b.c = '#'}\n", {"x.y.z.a": 2, "x.y.z.b.c": "="}, '[x]\ny.z = {a = 2, b.c = "="}\n'),
    ("c.toml", 't = """\n[x]\na = 1\n"""\n[x]\na = 1\n', {"x.a": 2}, 't = """\n[x]\na = 1\n"""\n[x]\na = 2\n'),
    ("c.toml", "s = [\n  'a = 1', # ]\n]\na = 1\n", {"a": 1e-05}, "s = [\n  'a = 1', # ]\n]\na = 1.0e-05\n"),
    ("c.toml", '"a.b" = [1, 2]\n', {"a.b": (1,)}, '"a.b" = [1]\n'),
    ("c.toml", "[[x]]\na = 1\n[[x]]\na = 2\n[y]\na = 3", {"y.a": 4}, "[[x]]\na = 1\n[[x]]\na = 2\n[y]\na = 4"),
    ("c.toml", "a = [\n  'x', # one\n  'y', # two\n]\n", {"a": ("y", "z")}, "a = [\n  'y', # two\n  \"z\",\n]\n"),
    (
        "c.toml",
        '[[p]]\nm="a"\nn=1\n[p.sub]\nx=1\n[[p]]\nm="b"\nn=2\n[[p.q]]\nz=1\n',
        {"p[m=b].n": 7, "p[m=a].sub.x": 3, "p.1.q.0.z": 4},
        '[[p]]\nm="a"\nn=1\n[p.sub]\nx=3\n[[p]]\nm="b"\nn=7\n[[p.q]]\nz=4\n',
    ),
    # INI
    ("c.ini", "  [x]\n  a = 1\n  b: 2\n", {"x.b": 3}, "  [x]\n  a = 1\n  b: 3\n"),
    ("c.ini", "[x]\na = 1\n; c\n  more\nb=1\n", {"x.b": 3}, "[x]\na = 1\n; c\n  more\nb=3\n"),
    ("c.ini", "[x]\na = yes\n; c\n[y]\na = 1\n", {"x.a": False, "y.a": 2}, "[x]\na = no\n; c\n[y]\na = 2\n"),
    ("c.cfg", "[x.y]\r\na: 'b' \r\n\r\n", {"x.y.a": "c d"}, "[x.y]\r\na: 'c d' \r\n\r\n"),
    ("c.ini", "a=\n[x]\na=1", {"a": 5, "x.a": True}, "a=5\n[x]\na=1"),
    # YAML
    ("c.yaml", "a: [BTC/USDT, 'x y']  # c\n", {"a": ("x", "5")}, "a: ['x', '5']  # c\n"),
    ("c.yaml", "a: [x, y]\n", {"a": ("x", "no", True, 1)}, 'a: [x, "no", true, 1]\n'),
    ("c.yaml", "a: true # why\nb: 1\n", {"a": False}, "a: false # why\nb: 1\n"),
    ("c.yml", "x:\r\n  y:\r\n    z: 1.5   \r\n", {"x.y.z": 2.5}, "x:\r\n  y:\r\n    z: 2.5   \r\n"),
    ("c.yaml", "\ufeffa: 1\n", {"a": 2}, "\ufeffa: 2\n"),
    ("c.yaml", "f: {a: true, b: [1, 2]}  # c\n", {"f.a": False}, "f: {a: false, b: [1, 2]}  # c\n"),
    ("c.yaml", "a: 'it''s'\n", {"a": "he's"}, "a: 'he''s'\n"),
    ("c.yaml", 'a: "x"\n', {"a": 'say "ä"'}, 'a: "say \\"ä\\""\n'),
    ("c.yaml", "a: plain\n", {"a": "no"}, 'a: "no"\n'),
    ("c.yaml", "a: plain\n", {"a": "5"}, 'a: "5"\n'),
    ("c.yaml", "a: plain\n", {"a": "# x"}, 'a: "# x"\n'),
    ("c.yaml", "a: plain\n", {"a": "two words"}, "a: two words\n"),
    ("c.yaml", "a:\nb: 1\n", {"a": True}, "a: true\nb: 1\n"),
    ("c.yaml", "a: # why\n", {"a": 1}, "a: 1 # why\n"),
    ("c.yaml", "a: 5\n", {"a": None}, "a: null\n"),
    ("c.yaml", "a: 5\n", {"a": 1e-05}, "a: 1.0e-05\n"),
    ("c.yaml", "a: yes\n", {"a": False}, "a: false\n"),
    ("c.yaml", "a.b: 1\n", {"a.b": 2}, "a.b: 2\n"),
    ("c.yaml", "n: 😀\na: 1 # 😀\n", {"a": 2}, "n: 😀\na: 2 # 😀\n"),
    ("c.yaml", "base: &b {x: 1}\nother: *b\na: 1\n", {"a": 2}, "base: &b {x: 1}\nother: *b\na: 2\n"),
    ("c.yaml", "- 1\n- a: 2\n", {}, "- 1\n- a: 2\n"),
    (
        "c.yaml",
        'a: # p\n  - x # c\n  # own\n  - "y"\n\nb: 1\n',
        {"a": ("y", "z")},
        'a: # p\n  # own\n  - "y"\n  - "z"\n\nb: 1\n',
    ),
    ("c.yaml", "a: # p\n- x\n# own\n- z # c", {"a": ()}, "a: [] # p\n# own"),
    ("c.yaml", "a: # p\n- x\n- z # c", {"a": None}, "a: null # p"),
    ("c.yaml", "a: [\n  x, # one\n  z, # two\n]\n", {"a": ("z", "w")}, "a: [\n  z, # two\n  w,\n]\n"),
    ("c.yaml", "a:\r\n- x\r\n- z # c\r\nb: 1\r\n", {"a": ("z", "x")}, "a:\r\n- z # c\r\n- x\r\nb: 1\r\n"),
    (
        "c.yaml",
        "p:\n- m: V\n  n: 5\n- {m: A, n: 6}\n",
        {"p[m=A].n": 7, "p.0.n": 8},
        "p:\n- m: V\n  n: 8\n- {m: A, n: 7}\n",
    ),
    ("c.yaml", "- a: 1\n", {"0.a": 2}, "- a: 2\n"),
    (
        "c.yaml",
        "p:\n- {on: true, n: 5}\n- {on: false, n: 6}\n",
        {"p[on=false].n": 7},
        "p:\n- {on: true, n: 5}\n- {on: false, n: 7}\n",
    ),
    # .env
    (".env", "NOTE=it's\nA=x\n", {"A": "y"}, "NOTE=it's\nA=y\n"),
    (".env", "A=$X\n", {"A": "y"}, "A=y\n"),
    (".env", "A=x # c\n", {"A": None}, "A= # c\n"),
    (".env", "A=  # c\n", {"A": "y"}, "A=y  # c\n"),
    (".env", "A= \n", {"A": "y"}, "A=y \n"),
    (".env", "A=true\n", {"A": False}, "A=false\n"),
    ("bot.env", "A=1\r\nB=2\r\n", {"A": False}, "A=0\r\nB=2\r\n"),
    (".env.local", "export A='yes' # why\n", {"A": False}, "export A='no' # why\n"),
    (".env", 'A="TRUE"', {"A": False}, 'A="FALSE"'),
    (".env", "A=False # why\n", {"A": True}, "A=True # why\n"),
    (".env", "A = on\n", {"A": False}, "A = off\n"),
    (".env", "A=\n", {"A": True}, "A=true\n"),
    (".env", "A=x\n", {"A": None}, "A=\n"),
    (".env", "A=x\n", {"A": "two words"}, "A='two words'\n"),
    (".env", "A=x\n", {"A": "it's"}, 'A="it\'s"\n'),
    (".env", 'A="x"\n', {"A": "$HOME"}, "A='$HOME'\n"),
    (".env", "# A=1\nA=2\nAA=3\n", {"A": 4}, "# A=1\nA=4\nAA=3\n"),
    (".env", "M='one\nA=1\n'\nA=2\n", {"A": 4}, "M='one\nA=1\n'\nA=4\n"),
    (".env", "A=x#y # z\n", {"A": 0.5}, "A=0.5 # z\n"),
]


@pytest.mark.parametrize(("name", "old", "values", "new"), EDITS)
def test_only_the_value_changes(name: str, old: str, values: dict[str, Value], new: str) -> None:
    assert set_values(old.encode(), name, values).decode() == new


@pytest.mark.parametrize(("name", "old", "values", "new"), EDITS)
def test_what_was_written_is_so_and_is_not_written_again(
    name: str, old: str, values: dict[str, Value], new: str
) -> None:
    assert has_values(new.encode(), name, values)
    assert not values or not has_values(old.encode(), name, values)
    assert set_values(new.encode(), name, values) == new.encode()


REFUSED_EDITS: list[tuple[str, str, str, str]] = [
    ("c.py", "B = 1\n", "A", "not set in"),
    ("c.py", "A = 1\nA = 2\n", "A", "set 2 times"),
    ("c.py", "A = 1\nif x:\n    A = 2\n", "A", "set 2 times"),
    ("c.py", "A = 1\ntry:\n    pass\nexcept E:\n    A = 2\n", "A", "set 2 times"),
    ("c.py", "A = 1\nmatch x:\n    case A:\n        pass\n", "A", "set 2 times"),
    ("c.py", "A = 1\nfor A in x: pass\n", "A", "set 2 times"),
    ("c.py", "A = 1\nfrom other import A\n", "A", "set 2 times"),
    ("c.py", "A = 1\nimport A.b\n", "A", "set 2 times"),
    ("c.py", "A = 1\nA += 1\n", "A", "set 2 times"),
    ("c.py", "A = 1\nwith x as A: pass\n", "A", "set 2 times"),
    ("c.py", "A = 1\ndel A\n", "A", "set 2 times"),
    ("c.py", "A = 1\ndef A(): pass\n", "A", "set 2 times"),
    ("c.py", "A = 1\nprint(A := 2)\n", "A", "set 2 times"),
    ("c.py", "if x:\n    A = 1\n", "A", "no plain top-level"),
    ("c.py", "A = B = 1\n", "A", "no plain top-level"),
    ("c.py", "A, B = 1, 2\n", "A", "no plain top-level"),
    ("c.py", "A: int\n", "A", "no plain top-level"),
    ("c.py", "(A): int = 1\n", "A", "no plain top-level"),
    ("c.py", "A = f(1)\n", "A", "no literal"),
    ("c.py", "A = 1 + 1\n", "A", "no literal"),
    ("c.py", "A = [f()]\n", "A", "no literal"),
    ("c.py", "A = [[1]]\n", "A", "is a list of lists — name a value in one of its members, as A\\[0\\]"),
    ("c.py", "A = [{}]\n", "A", "is a list of maps"),
    ("c.py", "A = {'b': 1}\n", "A", "no single value"),
    ("c.py", "A = {'b': 1, 'b': 2}\n", "A.b", "set 2 times"),
    ("c.py", "A = {'b': 1, **X}\n", "A.b", "not set in"),
    ("c.py", "A = {'b': 1}\nA['b'] = 2\n", "A.b", "changed again in line 2"),
    ("c.py", "A = {'b': 1}\nif x:\n    A.update(b=2)\n", "A.b", "changed again in line 3"),
    ("c.py", "class A:\n    b = 1\nA.b = 2\n", "A.b", "changed again in line 3"),
    ("c.py", "A = 1\ntry:\n    from local import *\nexcept ImportError: pass\n", "A", "import \\* in line 3"),
    ("c.py", "A = b'x'\n", "A", "is a bytes"),
    ("c.py", "A = f'x'\n", "A", "no literal"),
    ("c.py", "A = 2j\n", "A", "is a complex"),
    ("c.py", "A = ...\n", "A", "no literal"),
    ("c.py", "A = '''x\ny'''\n", "A", "several lines"),
    ("c.py", "A = (\n", "A", "is no Python"),
    ("c.py", "A = 1\0\n", "A", "is no Python"),
    ("c.yaml", "b: 1\n", "a", "not set in"),
    ("c.yaml", "a: 1\na: 2\n", "a", "set 2 times"),
    ("c.yaml", "a.b: 1\na: {b: 2}\n", "a.b", "set 2 times"),
    ("c.yaml", "a: {b: 1}\n", "a", "no single value"),
    ("c.yaml", "a: [[1]]\n", "a", "is a list"),
    ("c.yaml", "b: &b 1\na: [*b]\n", "a", "anchor, alias or tag"),
    ("c.json", '{"b": 1}', "a", "not set in"),
    ("c.json", '{"a": 1, "a": 2}', "a", "set 2 times"),
    ("c.json", '{"a": {"b": 1}}', "a", "no single value"),
    ("c.json", '{"a": [{}]}', "a", "is a list"),
    ("c.json", '[{"a": 1}]', "a", r"c.json is a list with one member — name one by its place, \[0\]"),
    ("c.json", '{"a": 1', "a", "line 1: a comma"),
    ("c.json", '{"a": 1} x', "a", "follows its end"),
    ("c.json", '{"a": tru}', "a", "line 1: what stands there is no value"),
    ("c.json", '{"a": }', "a", "a value is missing"),
    ("c.json", '{\n"a" 1}', "a", "line 2: a colon"),
    ("c.json", "{a: 1}", "a", "double quotes"),
    ("c.json", '{"a": ' + "[" * 100_000, "a", "nested too deeply"),
    ("c.toml", "b = 1\n", "a", "not set in"),
    ("c.toml", "a = 1\na = 2\n", "a", "no TOML"),
    ("c.toml", "[a]\nb = 1\n", "a", "no single value"),
    ("c.toml", "a = {b = 1}\n", "a", "no single value"),
    ("c.toml", "[[a]]\nb = 1\n", "a.b", "is a list with one member"),
    ("c.toml", "[[a]]\nb = 1\n", "a", "is a list of maps"),
    ("c.toml", "a = 2020-01-01\n", "a", "is a date"),
    ("c.toml", "a = '''x\ny'''\n", "a", "several lines"),
    ("c.json", '{"a": {"b": 1}, "a": {"c": 2}}', "a.b", "a is set 2 times"),
    ("c.yaml", "a: {b: 1}\na: {c: 2}\n", "a.b", "a is set 2 times"),
    ("c.ini", "[x]\na=1\n", "a", "not set in"),
    ("c.ini", "[x]\na=1\nA=2\n", "x.a", "set 2 times"),
    ("c.ini", "[x]\na=1\n[x]\na=2\n", "x.a", "set 2 times"),
    ("c.ini", "[x]\na=1\n  2\n", "x.a", "several lines"),
    ("c.ini", "[x]\na=1 ; why\n", "x.a", "readers differ"),
    ("c.yaml", "x: &x 1\na: *x\n", "a", "an alias"),
    ("c.yaml", "a: &x 1\nb: *x\n", "a", "anchored"),
    ("c.yaml", "a: &x {b: 1}\nc: *x\n", "a.b", "anchored"),
    ("c.yaml", "x: &x {b: 1}\na: *x\n", "a.b", "not set in"),
    ("c.yaml", "x: &x {b: 1}\na:\n  <<: *x\n", "a.b", "not set in"),
    ("c.yaml", "a: !!str 1\n", "a", "tagged"),
    ("c.yaml", "a: !mine x\n", "a", "tagged"),
    ("c.yaml", "a: |\n  x\n", "a", "several lines"),
    ("c.yaml", "a: x\n  y\n", "a", "several lines"),
    ("c.yaml", "a: 2020-01-01\n", "a", "is a date"),
    ("c.yaml", "a: 2020-99-99\n", "a", "cannot be read"),
    ("c.yaml", "a: 1\n---\na: 2\n", "a", "no YAML"),
    ("c.yaml", "a: [1\n", "a", "no YAML"),
    ("c.yaml", "- a: 1\n", "a", "is a list with one member"),
    ("c.yaml", "", "a", "not set in"),
    ("c.yaml", "{a}\n", "a", "by hand"),
    ("c.py", "C = {'a': {'b': 1}}\nfor k in x: C['a'][k] = 2\n", "C.a.b", "changed again in line 2"),
    ("c.py", "C = {'a': {'b': 1}}\nC[k]['b'] = 2\n", "C.a.b", "changed again in line 2"),
    ("c.py", "C = {'a': {'b': 1}}\ne = C['a']\ne['b'] = 2\n", "C.a.b", "changed again in line 3"),
    ("c.py", "C = {'a': {'b': 1}}\nfor e in C.values():\n    e['b'] = 2\n", "C.a.b", "changed again in line 3"),
    ("c.py", "class C:\n    D = {'a': 1}\n    D['a'] = 2\n", "C.D.a", "changed again in line 3"),
    ("c.py", "class C:\n    a = 1\nsetattr(C, 'a', 2)\n", "C.a", "changed again in line 3"),
    ("c.py", "A = 1\nglobals()['A'] = 2\n", "A", "changed again in line 2"),
    ("c.py", "A = ['x']\nA.append('y')\n", "A", "changed again in line 2"),
    ("c.py", "A = ['x']\nA[0] = 'y'\n", "A", "changed again in line 2"),
    ("c.py", "C = {'a': 1}\nC |= {'a': 2}\n", "C.a", "set 2 times"),
    (
        "c.json",
        '{"p": [{"m": "V"}, {"m": "A"}]}',
        "p[m=B].n",
        "p in c.json has no member with m=B — there are m=V, m=A",
    ),
    (
        "c.json",
        '{"p": [{"m": 1}, {"m": 1}]}',
        "p[m=1].n",
        r"has 2 members with m=1 \(0 and 1\) — name one by its place: \[0\], \[1\]",
    ),
    ("c.json", '{"p": [{"m": 1}]}', 'p[m="1"].n', "has no member with m=1 — there are m=1"),
    ("c.json", '{"p": [{"m": 1}]}', "p[k=1].m", "none of its members has a k to be found by; keys are m"),
    ("c.json", '{"p": [{"m": 1}]}', "p.1.m", "p in c.json has one member, numbered from 0: there is no 1"),
    ("c.json", '{"p": []}', "p.0.m", "p in c.json is empty: there is no 0"),
    (
        "c.json",
        '{"p": [{"m": 1}]}',
        "p.m",
        r"is a list with one member — name one by its place, p\[0\], or by a key of it, p\[key=value\]",
    ),
    ("c.json", '{"p": {"m": 1}}', "p[0]", "p in c.json is no list"),
    ("c.json", '{"p": [{"token": "hunter2"}]}', "p[token=x].m", r"there are token=\*\*\*"),
    ("c.ini", "[x]\na = 1\n  b = 2\n", "x.b", "indented below line 2"),
    ("c.ini", "[x]\na = 1\n; c\n\n  more\n", "x.a", "several lines"),
    (".env", 'A="live"-eu\nKEEP=1\n', "A", "put together of several pieces"),
    (".env", 'A="$HOME"/data\n', "A", "put together of several pieces"),
    (".env", "A='it'\\''s'\n", "A", "put together of several pieces"),
    (".env", 'A="x"# c\n', "A", "put together of several pieces"),
    (".env", "A=live;KEEP=1\n", "A", "line 1, is cut at a sign such as ; or & by a shell"),
    (".env", "KEEP=live;A=1\n", "A", "not at the beginning of its line"),
    (".env", "KEEP=1 A=1\n", "A", "not at the beginning of its line"),
    (".env", "A=live KEEP=1\n", "A", "followed by another assignment"),
    (".env", "export A=live KEEP=1\n", "A", "followed by another assignment"),
    (".env", "A=one\\\nKEEP=1\n", "A", "continued on the next line"),
    (".env", "KEEP=one\\\nA=1\n", "A", "line 2, is within what a shell takes for a value"),
    (".env", "N=it's\nA=live\nX=that's\n", "A", "line 2, is within what a shell takes for a value"),
    (".env", "# c \\\nA=live\n", "A", "below a comment that ends in a backslash"),
    (".env", "A=$changed\n", "B", "not set in"),
    (".env", "B=1\n", "A", "not set in"),
    (".env", "#A=1\n", "A", "not set in"),
    (".env", "A=1\nexport A=2\n", "A", "set 2 times"),
    (".env", "A='one\ntwo'\n", "A", "several lines"),
    (".env", "A='one\n", "A", "several lines"),
]


@pytest.mark.parametrize(("name", "content", "flag", "why"), REFUSED_EDITS)
def test_what_is_not_plainly_one_literal_is_refused(name: str, content: str, flag: str, why: str) -> None:
    with pytest.raises(ActionError, match=why):
        set_values(content.encode(), name, {flag: "changed"})


@pytest.mark.parametrize("name", ["c.py", "c.yaml"])
def test_a_file_in_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(ActionError, match="cannot be read"):
        set_values(b"# \xff\nA = 1\nA: 1\n", name, {"A": 2})


def test_a_latin_1_python_file_keeps_its_bytes() -> None:
    content = "# -*- coding: latin-1 -*-\nB = 'ä'; A = 'x'\n".encode("latin-1")

    assert set_values(content, "c.py", {"A": "ö€"}) == content.replace(b"'x'", b"'\\xf6\\u20ac'")


def test_other_lines_of_a_env_file_may_be_any_bytes() -> None:
    assert set_values(b"X=\xff\nA=1\n", ".env", {"A": 2}) == b"X=\xff\nA=2\n"


@pytest.mark.parametrize("value", ["a\nb", 'it\'s "x"', "back\\slash"])
def test_a_value_that_readers_of_env_files_understand_differently_is_refused(value: str) -> None:
    with pytest.raises(ActionError, match="every reader"):
        set_values(b"A=x\n", ".env", {"A": value})


def test_a_number_is_no_flag_and_a_flag_is_no_number() -> None:
    assert not has_values(b"A = 1\n", "c.py", {"A": True})
    assert not has_values(b"a: 1\n", "c.yaml", {"a": 1.0})
    assert has_values(b"A=1\n", ".env", {"A": True})


def test_literals_are_read_as_they_are_written() -> None:
    assert get_values(b"A = 'x'\nB = -1\n", "c.py", ["A", "B"]) == {"A": "'x'", "B": "-1"}
    assert get_values(b"a: {b: 'x'}\n", "c.yaml", ["a.b"]) == {"a.b": "'x'"}
    assert get_values(b'export A="x" # y\n', ".env", ["A"]) == {"A": '"x"'}


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("c.xml", {"A": 1}, "do: command"),
        ("c", {"A": 1}, "do: command"),
        ("c.py", {"a-b": 1}, "no Python name"),
        ("c.py", {"A": (1, float("inf"))}, "no value"),
        (".env", {"A": ("x",)}, "has no lists"),
        ("c.ini", {"x.A": ("x",)}, "has no lists"),
        ("c.yaml", {"a..b": 1}, "path of keys"),
        ("c.yaml", {".a": 1}, "path of keys"),
        ("c.yaml", {"a.": 1}, "path of keys"),
        ("c.yaml", {"a[b].c": 1}, r"one is named as \[0\]"),
        ("c.yaml", {"a[-1].c": 1}, r"one is named as \[0\]"),
        ("c.yaml", {"a[0]b": 1}, "a dot is missing ahead of 'b'"),
        ("c.yaml", {'a."b': 1}, "a quote does not end"),
        ("c.yaml", {"a[m=x].m": 1}, "sets the very m that it is found by"),
        ("c.py", {"[0].a": 1}, "no Python name"),
        ("c.py", {"'A'.a": 1}, "no Python name"),
        (".env", {"A-B": 1}, "no name"),
        ("c.py", {"A": float("nan")}, "no value"),
    ],
)
def test_what_can_never_work_is_refused_at_load(name: str, values: dict[str, Value], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        validate_values(name, values)


VALUES = st.one_of(
    st.booleans(), st.integers(), st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)
LISTS = st.lists(VALUES, max_size=3).map(tuple)
TEMPLATES = {
    "c.py": "B = 1\nA = {}  # c\nC = 'x'\n",
    "c.yaml": "b: 1\nA: {}  # c\nc: [1, 2]\n",
    ".env": "B=1\nA={} # c\nC='x'\n",
    "c.json": '{{"b": 1,\n"A": {}, // c\n"c": [1, 2]}}',
    "c.toml": "b = 1\nA = {}  # c\nc = [1, 2]\n",
    "c.ini": "b = 1\nA = {}\n# c\n",
}


@given(name=st.sampled_from(sorted(TEMPLATES)), old=st.sampled_from(["5", "'x'", '"x"', "['x']"]), value=VALUES | LISTS)
def test_any_value_is_either_written_exactly_in_one_line_or_refused(name: str, old: str, value: Value) -> None:
    before = TEMPLATES[name].format(old.replace("'", '"') if name == "c.json" else old).encode()
    flat = value if isinstance(value, tuple) else (value,)
    try:
        after = set_values(before, name, {"A": value})
    except ActionError:
        assert name not in ("c.py", "c.json")
        no_lists = name in (".env", "c.ini") and isinstance(value, tuple)
        assert no_lists or (name == "c.toml" and None in flat) or any(isinstance(each, str) for each in flat)
        return

    assert has_values(after, name, {"A": value})
    old_lines, new_lines = before.split(b"\n"), after.split(b"\n")
    assert len(old_lines) == len(new_lines)
    assert [n for n in range(len(old_lines)) if old_lines[n] != new_lines[n]] in ([], [1])
    plain = list(value) if isinstance(value, tuple) else value
    if name == "c.py":
        scope: dict[str, Any] = {}
        exec(after, scope)
        assert scope["A"] == plain
    if name == "c.yaml":
        assert yaml.safe_load(after) == {"b": 1, "A": plain, "c": [1, 2]}
    if name == "c.toml":
        assert tomllib.loads(after.decode()) == {"b": 1, "A": plain, "c": [1, 2]}
    if name == "c.json":
        assert json.loads(after.replace(b"// c", b"")) == {"b": 1, "A": plain, "c": [1, 2]}
    if name == "c.ini":
        ini = configparser.ConfigParser()
        ini.read_string(f"[top]\n{after.decode()}")
        assert isinstance(value, bool) or ini["top"]["A"].strip("'\"") == ("" if value is None else str(value))
