"""What systemd takes from an `EnvironmentFile=`, and a shell would not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.host.environment_file import parse_environment

CASES = {
    "A=1": {"A": "1"},
    "A=1\nB=2\n": {"A": "1", "B": "2"},
    "  A = 1  \n": {"A": "1"},
    "A=": {"A": ""},
    "A=\nB=2": {"A": "", "B": "2"},
    "# A=1\n; B=2\n\nC=3": {"C": "3"},
    "A=1 # no comment": {"A": "1 # no comment"},
    "A='a b'": {"A": "a b"},
    'A="a b"': {"A": "a b"},
    "A='a'\"b\" 'c'": {"A": "abc"},
    'A="a\\"b\\$c\\x"': {"A": 'a"b$c\\x'},
    "A='a\\b$c'": {"A": "a\\b$c"},
    "A=a\\ b\\\\c": {"A": "a b\\c"},
    "A=a\\\nb": {"A": "ab"},
    'A="a\\\nb"': {"A": "ab"},
    'A="a\nb"': {"A": "a\nb"},
    "A=it's": {"A": "it's"},
    "A='a'b'c'": {"A": "ab'c'"},
    "A=$HOME${B}$(id)`id`": {"A": "$HOME${B}$(id)`id`"},
    "A=x\\ ": {"A": "x "},
    "A=x=y": {"A": "x=y"},
    "A=1\nA=2": {"A": "2"},
    "export A=1\nB=2": {"B": "2"},
    "1A=1\nA-B=2\nC=3": {"C": "3"},
    "no value\nA=1": {"A": "1"},
    "A=a\x01b\nB=2": {"B": "2"},
    "A=1\r\nB=2\r\n": {"A": "1", "B": "2"},
    "A='open": {"A": "open"},
    'A="open': {"A": "open"},
    "": {},
    "\n \n": {},
}


@pytest.mark.parametrize("text", CASES, ids=map(repr, CASES))
def test_a_file_is_read_as_systemd_reads_it(text: str) -> None:
    assert parse_environment(text) == CASES[text]


@settings(max_examples=examples(200), deadline=None)
@given(st.text(st.sampled_from("AB=='\"\\ \t\n\r#;$`x"), max_size=40))
def test_whatever_stands_in_it_is_answered(text: str) -> None:
    found = parse_environment(text)

    assert all(name.isidentifier() for name in found)
