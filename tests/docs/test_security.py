"""docs/security.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
ROWS = [
    line for line in PAGE.partition("## Who may make it do what")[2].splitlines() if re.match(r"\| (?!who |---)", line)
]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[2].strip()[:60] for row in ROWS])
def test_every_line_names_who_tried_what_what_holds_it_and_its_test(row: str) -> None:
    who, tried, held, tests = (cell.strip() for cell in row.strip("|").split(" | "))

    assert who
    assert tried
    assert held
    assert re.fullmatch(r"`tests/[\w/]+\.py(::\w+)?`(, `tests/[\w/]+\.py(::\w+)?`)*", tests)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_the_page_names_exists(file: str, test: str) -> None:
    text = (ROOT / file).read_text()

    assert re.search(rf"^(async )?def {test or 'test_'}", text, re.MULTILINE)
    assert not test or re.search(rf"^(async )?def {test}\(", text, re.MULTILINE)


def test_every_file_of_attacks_has_a_line() -> None:
    files = {f"tests/security/{path.name}" for path in (ROOT / "tests/security").glob("test_*.py")}

    assert files <= {file for file, _ in NAMED}
