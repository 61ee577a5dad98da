"""That each member of the union is listed everywhere. A new one fails here until it is."""

from __future__ import annotations

import pytest

from tests.sources.contract.environment import ADAPTER, NOW, PULLED, PUSHED, TYPES, Environment, make_source
from tests.sources.contract.tables import BROKEN, HUNG, NOT_LISTENING, RECEIVING, WORKING
from tests.support.docs import ROOT, undocumented_fields, yaml_examples


@pytest.mark.parametrize("table", [WORKING, BROKEN, HUNG], ids=["well", "broken", "hung"])
def test_every_source_that_is_asked_is_tried_here(table: dict[str, object]) -> None:
    assert set(table) == set(PULLED)


@pytest.mark.parametrize("table", [RECEIVING, NOT_LISTENING], ids=["receiving", "not listening"])
def test_every_source_that_is_told_is_tried_here(table: dict[str, object]) -> None:
    assert set(table) == set(PUSHED)


@pytest.mark.parametrize("kind", TYPES)
def test_a_source_is_either_asked_or_told(kind: str) -> None:
    assert (kind in PULLED) is not (kind in PUSHED)


@pytest.mark.parametrize("kind", TYPES)
def test_a_source_has_a_file_a_test_and_a_page_named_after_it(kind: str) -> None:
    for place in (f"watchdog/sources/{kind}.py", f"tests/sources/test_{kind}.py", f"docs/sources/{kind}.md"):
        assert (ROOT / place).is_file(), f"{place} is missing"
    assert TYPES[kind].__doc__, "the class docstring is user documentation"


@pytest.mark.parametrize("kind", TYPES)
def test_the_page_explains_every_key_and_every_series(kind: str, environment: Environment) -> None:
    text = "".join((ROOT / f"docs/sources/{page}.md").read_text() for page in (kind, "README"))
    missing = [name for name in TYPES[kind].model_fields if f"`{name}`" not in text]
    if kind in ("command", "host", "process", "systemd"):  # the names are theirs, not the bot's
        missing += [
            each.name
            for each in make_source(kind, WORKING[kind](environment)).read({}, {}, NOW)
            if each.name not in text
        ]

    assert missing == []


@pytest.mark.parametrize("kind", TYPES)
def test_the_example_of_the_page_is_valid(kind: str) -> None:
    for fields in yaml_examples(f"sources/{kind}.md", "sources"):
        ADAPTER.validate_python(fields)  # raises


@pytest.mark.parametrize("kind", TYPES)
def test_every_key_has_a_docstring(kind: str) -> None:
    assert undocumented_fields(TYPES[kind]) == []
