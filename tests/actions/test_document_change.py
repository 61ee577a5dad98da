"""Diffs: what differs, under its name, and no secret beside it."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest

from watchdog.actions.values.document_change import describe_change


def change(name: str, old: str, new: str) -> list[str]:
    shown = describe_change(old.encode(), new.encode(), f"/bot/{name}").splitlines()
    assert shown[:2] == [f"--- a/bot/{name}", f"+++ b/bot/{name}"]
    return shown[2:]


@pytest.mark.parametrize(
    ("name", "old", "new", "shown"),
    [
        ("c.json", '{"key": "hunter2", "on": true}', '{"key": "hunter2", "on": false}', ["-on: true", "+on: false"]),
        ("c.json", '{"key": "hunter2", "on": true}', '{"key": "hunter3", "on": true}', ["-key: ***", "+key: ***"]),
        ("c.json", '{"key": "hunter2"}', '{"key": ""}', ["-key: ***", '+key: ""']),
        ("c.json", '{"a": ["x", "y"]}', '{"a": ["x"]}', ['-a[1]: "y"']),
        ("c.json", '{"a": {"b.c": 1}}', '{"a": {"b.c": 2}}', ['-a."b.c": 1', '+a."b.c": 2']),
        ("c.yaml", "e: {key: hunter2, on: true}", "e: {key: hunter2, on: false}", ["-e.on: true", "+e.on: false"]),
        ("c.yaml", "secrets:\n- hunter2\non: 1\n", "secrets:\n- hunter3\non: 1\n", ["-secrets[0]: ***", "+secrets[0]: ***"]),
        ("c.yaml", "password: |\n  hunter2\n  more\n", "password: |\n  hunter3\n  more\n", ["-password: ***", "+password: ***"]),
        ("c.yaml", "a: 1\n---\na: 2\n", "a: 1\n---\na: 3\n", ["-[1].a: 2", "+[1].a: 3"]),
        ("c.toml", 'e = {key = "hunter2", on = 1}', 'e = {key = "hunter2", on = 2}', ["-e.on: 1", "+e.on: 2"]),
        ("c.ini", "[e]\nkey = hunter2\nOn = 1\n", "[e]\nkey = hunter2\nOn = 2\n", ["-e.On: 1", "+e.On: 2"]),
        ("c.ini", "[e]\npassword = hunter2\n  more\n", "[e]\npassword = hunter3\n", ["-e.password: ***", "+e.password: ***"]),
        (".env", "KEY='hunter2'\nON=1\n", "KEY=\nON=2\n", ["-KEY: ***", "+KEY: ", "-ON: 1", "+ON: 2"]),
        (".env", 'KEY="hunter2\nmore"\n', "KEY=x\n", ["-KEY: ***", "+KEY: ***"]),
        ("c.py", "C = {'key': 'hunter2', 'on': 1}\n", "C = {'key': 'hunter2', 'on': 2}\n", ["-… 'on': 1}", "+… 'on': 2}"]),
        ("c.py", "C = {'pw': 'hunter2', 'on': 1}\n", "C = {'pw': 'hunter3', 'on': 1}\n", ["-…'pw': '***',…", "+…'pw': '***',…"]),
        ("c.py", "A = 1  # why\nB = 2\n", "A = 2  # why\nB = 2\n", ["-A = 1  # why", "+A = 2  # why"]),
        ("run.sh", "TOKEN=hunter2 ./bot\n", "TOKEN=hunter3 ./bot\n", ["-TOKEN=***", "+TOKEN=***"]),
        ("notes.txt", "mode live; key: hunter2\n", "mode off; key: hunter2\n", ["-mode live;…", "+mode off;…"]),
        ("c.yaml", "a: 1 # x\n", "a: 1\n", ["# nothing but comments, or how it is laid out"]),
    ],
)  # fmt: skip
def test_what_differs_is_shown_and_no_secret(name: str, old: str, new: str, shown: list[str]) -> None:
    assert change(name, old, new) == shown


def test_a_broken_document_is_shown_line_by_line_without_secrets() -> None:
    shown = change("c.json", '{"key": "hunter2", "on": 1', '{"key": "hunter3", "on": 2')

    assert not any("hunter" in line for line in shown)
    assert "on" in shown[0]


def test_a_key_over_several_lines_is_hidden() -> None:
    old = "KEY = '''-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----'''\nA = 1\n"

    assert change("c.py", old, old.replace("A = 1", "A = 2")) == ["-A = 1", "+A = 2"]
    assert change("c.py", old, old.replace("MIIE", "MIIF")) == ["-KEY = '***'", "+KEY = '***'"]


def test_a_file_that_comes_or_goes_a_binary_and_a_huge_one_are_told() -> None:
    assert describe_change(None, b'{"a": 1}', "c.json") == "--- /dev/null\n+++ b/c.json\n+a: 1\n"
    assert describe_change(b'{"key": "hunter2"}', None, "c.json") == "--- a/c.json\n+++ /dev/null\n-key: ***\n"
    assert describe_change(b"\0", b"ab", "m.bin") == "Binary file m.bin changes from 1 to 2 bytes\n"
    assert describe_change(b"a", b"b" * (2 << 20), "m.txt") == "File m.txt changes from 1 to 2097152 bytes\n"
    assert describe_change(b"a", b"a", "m.txt") == ""


LAUGHS = "a: &a [" + ", ".join("x" * 9) + "]\n"
LAUGHS += "".join(
    f"{next_}: &{next_} [{', '.join([f'*{one}'] * 9)}]\n" for one, next_ in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "aliases.yaml": LAUGHS,
    "key.yaml": f"{LAUGHS}? [*i, *i]\n: 1\n",
    "itself.yaml": "&a [*a, *a, *a]\n",
    "long.yaml": "a: &a " + "x" * 200_000 + "\nb: [" + "*a, " * 20_000 + "*a]\n",
    "deep.yaml": "a: " + "[" * 400_000,
    "closed.yaml": "a: " + "[" * 100_000 + "]" * 100_000 + "\n",
    "key.json": json.dumps({"k" * 200_000: [1] * 50_000}),
    "deep.json": "[" * 800 + "1," * 50_000 + "1" + "]" * 800,
    "key.toml": "a." * 100_000 + "a = 1\n",
    "defaults.ini": "[DEFAULT]\n"
    + "".join(f"k{n} = 1\n" for n in range(5_000))
    + "".join(f"[s{n}]\n" for n in range(5_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_grows_without_end_while_it_is_read_is_told_line_by_line(name: str) -> None:
    old, new = BOMBS[name], f"{BOMBS[name]}\n\n# mode: off\n"
    started = time.process_time()
    shown = describe_change(old.encode(), new.encode(), name)
    assert time.process_time() - started < 10
    assert "+# mode: off" in shown.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aliases.yaml", "key.yaml", "long.yaml"])
def test_aliases_take_little_memory(name: str) -> None:
    tracemalloc.start()
    try:
        describe_change(None, BOMBS[name].encode(), name)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_an_alias_is_told_wherever_it_stands() -> None:
    assert change("c.yaml", "a: &a {x: 1}\nb: *a\n", "a: &a {x: 2}\nb: *a\n") == [
        "-a.x: 1",
        "+a.x: 2",
        "-b.x: 1",
        "+b.x: 2",
    ]
    assert change("c.yaml", "? [1, 2]\n: 3\n", "? [1, 2]\n: 4\n") == ['-"[1, 2]": 3', '+"[1, 2]": 4']


def test_of_a_secret_in_code_nothing_is_told_not_even_a_digest() -> None:
    old = b'URL = "postgres://bot:hunter2@db/x"\nTOKEN = "x"\n'

    assert describe_change(old, b'URL = ""\nTOKEN = "x"\n', "config.py").splitlines()[2:] == [
        '-URL = "postgres://***@db/x"',
        '+URL = ""',
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "env:\n- name: API_KEY\n  value: hunter2\n- {name: PASSWORD, value: hunter2}\n"),
        ("c.json", '{"env": [{"name": "API_KEY", "value": "hunter2"}, {"key": "secret", "Value": "hunter2"}]}'),
        ("c.toml", '[[env]]\nname = "API_KEY"\nvalue = "hunter2"\n'),
        ("c.py", 'SECRET = (\n    "hunter2"\n)\nKEYS = [\n    "a",\n    "hunter2",\n]\n'),
        ("c.py", 'os.environ.setdefault("API_KEY", "hunter2")\n'),
        ("c.py", 'URL = "https://api.example.org/x?live=1&token=hunter2"\n'),
        ("run.sh", "curl -u bot:hunter2 https://api.example.org\n"),
    ],
)
def test_a_secret_that_is_named_beside_itself_is_not_told(name: str, text: str) -> None:
    assert "hunter2" not in describe_change(text.encode(), None, name)


def test_what_a_member_calls_itself_hides_no_other_value() -> None:
    old = b'{"env": [{"name": "LIVE", "value": "yes"}]}'

    assert '-env[0].value: "yes"' in describe_change(old, b'{"env": [{"name": "LIVE", "value": "no"}]}', "c.json")
