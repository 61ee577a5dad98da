"""tomlkit, which keeps a file's style too, makes of any edit the same file as we do, byte for byte."""

from __future__ import annotations

import tomllib
from typing import Any

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from watchdog.actions.values.editor import set_values

TEXTS = st.text("abc XYZ09_-.#=[]{},äß€😀'", max_size=12)
SCALARS = st.integers(-(10**9), 10**9) | st.booleans() | TEXTS
KEYS = st.sampled_from(["a", "b", "size", "key-1", "UP", "9"])
GAPS = st.sampled_from(["", "\n", "# a comment = 1\n", "  # [no.table]\n\n"])
COMMENTS = st.sampled_from(["", " # why", "  # a = 1 # [x]", "\t#"])
EQUALS = st.sampled_from([" = ", "=", "  =   "])


@st.composite
def value_texts(draw: st.DrawFn) -> str:
    """A value as a person may have written it: a scalar, a list in a line, or a text that looks like a table."""
    kind = draw(st.sampled_from(["scalar", "literal", "list", "lines", "hex"]))
    if kind == "literal":
        return f"'{draw(st.text('abc #=[]', max_size=8))}'"
    if kind == "list":
        return f"[ {', '.join(map(str, draw(st.lists(st.integers(0, 99), max_size=3))))} ]"
    if kind == "lines":
        return '"""\n[t0]\na = 1 # """' + "\n"[:0]
    if kind == "hex":
        return "0xFF"
    return tomlkit.item(draw(SCALARS)).as_string()


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[tuple[str, ...]]]:
    """A file, and the paths of all its values."""
    text, paths = "", []
    for number, table in enumerate(["", *draw(st.lists(st.sampled_from(["t0", "t1.inner", '"t 2"']), unique=True))]):
        text += draw(GAPS) + (f"[{table}]{draw(COMMENTS)}\n" if number else "")
        prefix = tuple(table.replace('"', "").split(".")) if table else ()
        for key in draw(st.lists(KEYS, unique=True, max_size=4)):
            text += f"{key}{draw(EQUALS)}{draw(value_texts())}{draw(COMMENTS)}\n{draw(GAPS)}"
            paths.append((*prefix, key))
    return text, paths


@given(documents(), st.data())
def test_any_edit_makes_the_file_that_tomlkit_makes(
    document: tuple[str, list[tuple[str, ...]]], data: st.DataObject
) -> None:
    text, paths = document
    if not paths:
        return
    *tables, key = path = data.draw(st.sampled_from(paths))
    value = data.draw(SCALARS)
    theirs = tomlkit.parse(text)
    table: Any = theirs
    for name in tables:
        table = table[name]
    before: Any = tomllib.loads(text)
    for name in path:
        before = before[name]
    if before == value and type(before) is type(value):
        return  # ours leaves what has the value as it is written
    if isinstance(before, str) and "\n" in before:
        return  # several lines: refused by us
    table[key] = value

    assert set_values(text.encode(), "c.toml", {".".join(path): value}).decode() == tomlkit.dumps(theirs)
