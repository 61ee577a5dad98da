from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.model import Message, Severity
from watchdog.notifiers import slack_layout, telegram_layout
from watchdog.notifiers.text import title_line, truncate, utf16_length


@pytest.mark.parametrize(("severity", "symbol"), [("info", "ℹ️"), ("warn", "⚠️"), ("crit", "🚨")])
def test_the_severity_leads_as_a_symbol(severity: Severity, symbol: str) -> None:
    assert title_line(Message(severity, "Drawdown 10 %")) == f"{symbol} Drawdown 10 %"


def test_a_text_that_fits_is_left_alone() -> None:
    assert truncate("x" * 50, 50, utf16_length) == "x" * 50


def test_a_text_that_does_not_fit_says_how_much_is_left_out() -> None:
    assert truncate("x" * 100, 50, utf16_length) == "x" * 23 + "… (77 characters left out)"


def test_an_emoji_counts_two() -> None:
    assert utf16_length("🚨") == 2
    assert truncate("🚨" * 30, 60, utf16_length) == "🚨" * 30
    assert "left out" in truncate("🚨" * 31, 60, utf16_length)


messages = st.builds(
    Message,
    key=st.just("k"),
    severity=st.sampled_from(["info", "warn", "crit"]),
    title=st.text("ab<&>*_` \n🚨\udc80", max_size=6_00),
    lines=st.lists(st.integers(0, 5_000).map(lambda n: "<&🚨x>"[n % 5] * n), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(messages)
def test_every_message_fits_slack_which_finds_no_markup_in_it(message: Message) -> None:
    body = slack_layout.render_message(message)

    (section,) = body["blocks"][0]["elements"]
    shown = "".join(element["text"] for element in section["elements"])
    for text in (body["text"], shown):
        assert 0 < utf16_length(text) <= 3_000
    assert {element["type"] for element in section["elements"]} == {"text"}
    assert body["mrkdwn"] is False
    rest = body["text"].replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set("&<>") & set(rest)


@settings(max_examples=60, deadline=None)
@given(messages)
def test_every_message_fits_telegram(message: Message) -> None:
    title, lines = telegram_layout.render_message(message)

    assert 0 < utf16_length(title) <= 300
    assert "\n" not in title
    assert utf16_length(f"{title}\n{lines}") <= 4_096
