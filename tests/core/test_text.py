"""What others wrote, as people may see it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.text import MAX_LABEL_CHARACTERS, escape, escape_lines, quote_label, shorten

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
any_text = st.text(st.characters(codec=None, exclude_categories=()) | st.sampled_from("\n\r\t\x1b\u202e\u2028\udc80"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nincident 1 closed", r"a\nincident 1 closed"),
        ("\r\t\x00\x7f\x1b[2J", r"\r\t\x00\x7f\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edef\u2066\u200b\ufeff\xad", r"abc\u202edef\u2066\u200b\ufeff\xad"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\udc80", r"\udc80"),
        ("\u3164\u115f\u2800\U000e0041", r"\u3164\u115f\u2800\U000e0041"),
        ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + r"\u0301\u0301"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_what_is_not_seen_is_shown_by_its_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "×, –, ± 10 % µs “so”",
        "Просадка счёта",
        "回撤 過大 ドローダウン",
        "ℹ️ ⚠️ 🚨",
        "e\u0301",
        "5\xa0000\u202f€\u3000。",
        "نص עברית ไทย",
    ],
)
def test_the_words_of_all_scripts_stay(text: str) -> None:
    assert escape(text) == text


@given(any_text)
def test_nothing_hidden_is_left_and_escaping_twice_is_escaping_once(text: str) -> None:
    shown = escape(text)

    assert not {unicodedata.category(character) for character in shown} & HIDDEN
    assert len(shown.splitlines()) <= 1
    assert escape(shown) == shown


@given(any_text)
def test_of_several_lines_only_line_feeds_and_tabs_are_left(text: str) -> None:
    shown = escape_lines(text)

    assert not {unicodedata.category(character) for character in shown if character not in "\n\t"} & HIDDEN
    assert shown.count("\n") == text.count("\n")


@given(any_text, st.integers(30, 100))
def test_what_is_too_long_says_so_within_its_limit(text: str, limit: int) -> None:
    shown = shorten(text * 5, limit)

    assert len(shown) <= limit
    assert shorten(shown, limit) == shown
    assert shown == escape(text * 5) or shown.endswith(f"… ({len(text * 5)} characters)")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("binance", "binance"),
        ("/data", "/data"),
        ("Сделки", "Сделки"),
        ("", '""'),
        ("two words", '"two words"'),
        ("x\nincident 1 closed: all is well", r'"x\nincident 1 closed: all is well"'),
        ('x", incident="closed', r'"x\", incident=\"closed"'),
        ("x\\", r'"x\\"'),
    ],
)
def test_a_label_ends_where_its_quote_does(value: str, shown: str) -> None:
    assert quote_label(value) == shown


@given(any_text)
def test_no_label_fills_a_message(value: str) -> None:
    assert len(quote_label(value * 9)) <= MAX_LABEL_CHARACTERS + 2


def test_a_megabyte_is_not_looked_through_for_a_line() -> None:
    assert shorten("\x1b" * 1_000_000, 40).endswith("… (1000000 characters)")
