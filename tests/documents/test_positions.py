"""YAML text → data with places."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from watchdog.documents import yaml_loader
from watchdog.documents.document import Document
from watchdog.documents.yaml_events import MAX_DEPTH, MAX_NODES, parse_scalar
from watchdog.documents.yaml_loader import MAX_BYTES, load_document, parse_document

LOADERS = pytest.mark.parametrize("loader", yaml_loader.LOADERS, ids=lambda loader: loader.__name__)


def error_texts(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nil", "nil"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("2024-02-30", "2024-02-30"),
        ("1_000", "1_000"),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("007", "007"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("0b1", "0b1"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-2.5E-3", -0.0025),
        ("1.2.3", "1.2.3"),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("inf", "inf"),
        ("nan", "nan"),
        ("10%", "10%"),
        ("2x baseline", "2x baseline"),
        ("512MiB", "512MiB"),
        ("٣", "٣"),
        ("123456789012345678", 123456789012345678),
    ],
)
def test_a_word_is_read_by_yaml_1_2(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_not_a_number_is_read() -> None:
    number = parse_scalar(".nan")
    assert isinstance(number, float)
    assert number != number


@pytest.mark.parametrize("text", ["1234567890123456789", "-1234567890123456789", "9" * 5000, "1e999", "-1e999"])
def test_a_number_that_would_not_be_kept_exactly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"digits|large"):
        parse_scalar(text)


@LOADERS
def test_every_key_and_value_has_its_place(loader: Any) -> None:
    text = "a:\n  b: 1\n  'ü': [x, {c: 2}]\nd: |\n  text\ne:\n"
    document = parse_document(text.encode(), "f", loader)
    assert document.data == {"a": {"b": 1, "ü": ["x", {"c": 2}]}, "d": "text\n", "e": None}
    assert document.key_positions == {
        ("a",): (1, 1),
        ("a", "b"): (2, 3),
        ("a", "ü"): (3, 3),
        ("a", "ü", 1, "c"): (3, 13),
        ("d",): (4, 1),
        ("e",): (6, 1),
    }
    assert document.value_positions == {
        (): (1, 1),
        ("a",): (2, 3),
        ("a", "b"): (2, 6),
        ("a", "ü"): (3, 8),
        ("a", "ü", 0): (3, 9),
        ("a", "ü", 1): (3, 12),
        ("a", "ü", 1, "c"): (3, 16),
        ("d",): (4, 4),
        ("e",): (6, 3),
    }


@LOADERS
def test_a_byte_order_mark_moves_nothing(loader: Any) -> None:
    document = parse_document(b"\xef\xbb\xbfa: 1\r\nb: *x\r\n", "f", loader)
    assert document.key_positions[("a",)] == (1, 1)
    assert [(problem.line, problem.column) for problem in document.problems] == [(2, 4)]


@LOADERS
@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\n\n"])
def test_an_empty_file_is_fine(text: str, loader: Any) -> None:
    document = parse_document(text.encode(), "f", loader)
    assert document.data is None
    assert document.problems == []


# » stands before the place that must be named.
BROKEN = {
    "duplicate key": ("a: 1\nb: 2\n»a: 3\n", "a stands here twice, first in line 1"),
    "duplicate key within a flow": ("x: {a: 1, »a: 2}\n", "twice, first in line 1"),
    "duplicate key in quotes": ("a: 1\n»'a': 3\n", "twice"),
    "anchor": ("a: »&x 1\n", "&x"),
    "alias": ("a: »*x\n", "*x points to another place"),
    "alias as key": ("»*x : 1\n", "*x points"),
    "merge key": ("»<<: {a: 1}\n", "<<"),
    "tag": ("a: »!!python/object/apply:os.system [id]\n", "tag"),
    "own tag": ("a: »!secret x\n", "tag !secret"),
    "braces without quotes": ("a: {»{ value }}\n", "a key should stand here"),
    "list as key": ("? »[a]\n: 1\n", "a key should stand here"),
    "colon in a text": ("a: b»: c\n", "colon"),
    "second document": ("a: 1\n»---\nb: 2\n", "second document"),
    "tab": ("a:\n»\tb: 1\n", "tab"),
    "tab after spaces": ("a:\n  b: 1\n »\tc: 1\n", "tab"),
    "text that starts oddly": ("a: »@x\n", "quotes"),
    "text with a backtick": ("a: »`x`\n", "quotes"),
    "open quote": ("a: 1\nb: »'x\nc: 1\n", "never closed"),
    "open double quote": ('a: »"x\n', "never closed"),
    "open bracket": ("a: {b: 1, c: [1, 2»}\n", "] is missing"),
    "range in a flow mapping": ("a: {expr: rate(b»[5m])}\n", "put text that holds {, }, [, ] or , in quotes"),
    "wrong escape": ('a: "\\»q"\n', "means nothing"),
    "indentation": ("a:\n  b: 1\n »c: 2\n", "indentation"),
    "list in a mapping": ("a: 1\n»- b\n", "indentation"),
    "control character": ("a: x»\x07\n", "U+0007"),
    "line separator": ("a: x»\u2028b\n", "U+2028"),
    "null in a text": ('a: »"x\\0"\n', "character"),
    "long number": ("a: »1234567890123456789\n", "18 digits"),
    "huge number": ("a: »1e999\n", "too large"),
    "too deep": (f"{'[' * MAX_DEPTH}»[{']' * MAX_DEPTH}]\n", "deeper"),
    "too deep in lines": (
        "".join(f"{' ' * depth}a:\n" for depth in range(MAX_DEPTH)) + " " * MAX_DEPTH + "»a:\n",
        "deeper",
    ),
}
LOADER_DIFFERENCES = {"wrong escape": "SafeLoader"}
"""libyaml names the backslash, the Python parser the character behind it."""


@LOADERS
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_plain_yaml_is_named_at_its_place(name: str, loader: Any) -> None:
    text, fragment = BROKEN[name]
    line, column = (
        text[: text.index("»")].count("\n") + 1,
        text.index("»") - (text.rfind("\n", 0, text.index("»")) + 1) + 1,
    )
    (problem,) = parse_document(text.replace("»", "").encode(), "f.yaml", loader).problems
    assert fragment in str(problem)
    if loader.__name__ not in LOADER_DIFFERENCES.get(name, "") and name not in LOADER_DIFFERENCES:
        assert (problem.line, problem.column) == (line, column)
    else:
        assert (problem.line, problem.column) in [(line, column - 1), (line, column), (line, column + 1)]


@LOADERS
def test_reading_goes_on_behind_a_mistake(loader: Any) -> None:
    text = b"a: *x\nb: &y 1\nc: {d: 1, d: {e: *z}}\nh:\n  ? [x]\n  : {a: 1}\nf: !t 1\ng: 9999999999999999999\n"
    document = parse_document(text, "f", loader)
    assert [(problem.line, problem.column) for problem in document.problems] == [
        (1, 4),
        (2, 4),
        (3, 11),
        (5, 5),
        (7, 4),
        (8, 4),
    ]
    assert document.complete
    assert document.data["c"] == {"d": 1}
    assert document.is_rejected(("a",))
    assert not document.is_rejected(("c", "d"))


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"a: 1\nb: \xff\n", (2, 4)),
        (b"\xff\xfea\x00", (1, 1)),
        (b"\xef\xbb\xbf\xc3\xbc: \xc3\n", (1, 4)),
        (b"a\r\n\r\n\x80", (3, 1)),
    ],
)
def test_bytes_that_are_no_utf_8_have_a_place(raw: bytes, place: tuple[int, int]) -> None:
    (problem,) = parse_document(raw, "f").problems
    assert (problem.line, problem.column) == place
    assert "UTF-8" in problem.what


@pytest.mark.slow
def test_a_flood_of_values_is_refused() -> None:
    document = parse_document(b"[" + b"1," * (MAX_NODES + 10) + b"]", "f")
    assert "more than" in error_texts(document)[0]
    assert document.data is None


def test_too_large_a_file_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    assert error_texts(load_document(path, "big.yaml")) == [
        "big.yaml:1:1: is larger than 4096 KiB — split it: rules/ may hold many files"
    ]


def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "no regular file" in error_texts(load_document(tmp_path / "pipe.yaml", "f"))[0]
    assert "no regular file" in error_texts(load_document(tmp_path / "folder.yaml", "f"))[0]
    assert "cannot be read" in error_texts(load_document(tmp_path / "circle.yaml", "f"))[0]
    assert "no such file" in error_texts(load_document(tmp_path / "none.yaml", "f"))[0]
