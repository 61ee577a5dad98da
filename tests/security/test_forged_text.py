"""Who writes a label, an answer, a commit's subject or a file's name writes no line of ours, wherever people read it."""

from __future__ import annotations

import argparse
import contextlib
import html
import io
import logging
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline_harness import RULES_YAML, PipelineHarness
from watchdog.app.status import build_status
from watchdog.cli import status
from watchdog.cli.output import print_json, print_line, print_lines, print_table
from watchdog.core.log_format import LineFormatter
from watchdog.core.model import MAX_LINE_CHARACTERS, Message
from watchdog.core.telemetry import log
from watchdog.notifiers import slack_layout, telegram_layout
from watchdog.offline.report import build
from watchdog.offline.report.blocks import Block, Bullets, Code, Heading, Paragraph, Table, render_html, render_markdown
from watchdog.web.status_page import render_status_page

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
FORGED = "x\nincident 1 closed: all is well\x1b[2J\u202e\u2028<!channel><b>[ok](http://e.vil)"
SHOWN = r"x\nincident 1 closed: all is well\x1b[2J\u202e\u2028<!channel><b>[ok](http://e.vil)"
QUOTED = f'side="{SHOWN}"'
any_text = st.text(
    st.characters(codec=None, exclude_categories=()) | st.sampled_from("\n\r\x1b\x9b\u2028\u202e\x0b\x85\udc80<>|`*"),
    max_size=60,
)


def assert_seen_whole(text: str, *, kept: str = "\n") -> None:
    assert not {unicodedata.category(character) for character in text if character not in kept} & HIDDEN


def slack_texts(message: Message) -> tuple[str, str]:
    """What is shown, and the text for those who know no blocks."""
    body = slack_layout.render_message(message)
    shown = "".join(element["text"] for element in body["blocks"][0]["elements"][0]["elements"])
    return shown, html.unescape(body["text"])


class TextOfPage(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def tripped(tmp_path: Path) -> PipelineHarness:
    """A rule that tripped for a series whose label somebody else wrote."""
    rule = (
        "  - {name: pair, each: [side], target: bot, warn: {expr: left > 5},"
        ' summary: "{{ labels.side }} of {{ labels }}"}\n'
    )
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("plans:\n", f"{rule}plans:\n", 1))
    harness.labelled_series = [("left", (("side", FORGED),), 9.0)]
    return harness


def test_a_forged_label_stays_within_its_quotes_in_every_chat(tripped: PipelineHarness) -> None:
    tripped.rounds(3)

    (message,) = [one.message for one in tripped.journal.messages.due(tripped.now, "chat")]
    lines = len(message.lines) + 1
    for text in (*slack_texts(message), "\n".join(telegram_layout.render_message(message))):
        assert_seen_whole(text)
        assert len(text.splitlines()) == lines
        assert QUOTED in text
        assert not any(line.startswith("incident 1 closed") for line in text.splitlines())


def test_a_forged_label_makes_no_line_in_the_log(tripped: PipelineHarness) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        tripped.rounds(3)
        log.warning("source bot: %s", FORGED)
    finally:
        log.removeHandler(handler)

    assert_seen_whole(stream.getvalue())
    assert all(line.startswith(("INFO ", "WARNING ")) for line in stream.getvalue().splitlines())
    assert f"WARNING source bot: {SHOWN}" in stream.getvalue()


def test_a_forged_label_makes_no_line_of_status_and_no_row_of_its_page(
    tripped: PipelineHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tripped.rounds(3)
    known = build_status(
        tripped.config, tripped.pipeline, tripped.journal, dict.fromkeys(tripped.config.sources), tripped.now
    )
    monkeypatch.setattr(status, "fetch_status", lambda *_: known)

    status.status(argparse.Namespace(config=tripped.folder, json=False))
    printed = capsys.readouterr().out
    page = render_status_page(known)

    for text in (printed, TextOfPage(page).text):
        assert_seen_whole(text)
        (line,) = [line for line in text.splitlines() if QUOTED in line and "firing" in line]
        assert "pair" in line
    assert "b" not in TextOfPage(page).tags


def test_what_the_journal_holds_is_told_escaped(
    tripped: PipelineHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tripped.rounds(3)
    with tripped.journal.transaction() as tx:
        tx.timeline.add_event("note", FORGED, tripped.now, incident=1, target="bot")
    monkeypatch.setattr(status, "open_journal", lambda _: (tripped.config, tripped.journal))

    status.list_incidents(argparse.Namespace(config=tripped.folder, json=False, id=1))
    printed = capsys.readouterr().out
    incident = tripped.journal.incidents.find_incident(1)
    assert incident is not None
    data = build.collect_data(tripped.journal, incident, tripped.config, None, tripped.now)
    title, blocks = build.build_report(data)

    page = render_html(title, blocks)
    assert not {"b", "a"} & TextOfPage(page).tags
    markdown = render_markdown(blocks)
    assert not {"<b>", "](http", "<!"} & {mark for mark in ("<b>", "](http", "<!") if mark in markdown}
    for text in (printed, html.unescape(markdown), TextOfPage(page).text):
        assert_seen_whole(text)
        assert SHOWN in text
        assert not any(line.strip().startswith("incident 1 closed") for line in text.splitlines())


@given(any_text, st.lists(any_text, max_size=5))
def test_a_message_has_exactly_the_lines_that_were_made(title: str, lines: list[str]) -> None:
    message = Message("crit", title, tuple(lines))

    for text in (*slack_texts(message), "\n".join(telegram_layout.render_message(message))):
        assert_seen_whole(text)
        assert text.count("\n") <= len(lines) + 1
        assert len(text.splitlines()) <= len(lines) + 1


def test_one_name_leaves_room_for_what_else_there_is_to_say() -> None:
    message = Message("crit", "a" * 100_000, ("b" * 100_000, "resume it with trading-watchdog resume bot"))

    for text in (*slack_texts(message), "\n".join(telegram_layout.render_message(message))):
        assert "b… (100000 characters)" in text
        assert text.endswith("resume it with trading-watchdog resume bot")
    assert max(map(len, message.lines)) <= MAX_LINE_CHARACTERS


@given(any_text)
def test_the_command_line_prints_a_line_as_a_line_and_a_diff_as_its_lines(text: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_line(f"bot: {text}")
        print_json({text: [text]})
        print_table([("rule", "why"), (text, text)])
        print_lines(f"first\n{text}", indent="    ")

    line, json_value, _, row, *rest = out.getvalue().split("\n")
    assert_seen_whole(out.getvalue(), kept="\n\t")
    assert line.startswith("bot: ")
    assert json_value.isascii()
    assert row.count("  ") >= bool(text.strip())
    assert rest.pop() == ""
    assert len(rest) <= 2 + text.count("\n")
    assert all(one.startswith("    ") for one in rest)


@given(any_text)
def test_a_report_holds_no_markup_of_others(text: str) -> None:
    blocks: list[Block] = [
        Heading(text),
        Paragraph(text),
        Bullets((text,)),
        Table((text,), ((text,),)),
        Code(text, "diff"),
    ]

    page = TextOfPage(render_html(text, blocks))
    markdown = render_markdown(blocks)

    assert_seen_whole(page.text, kept="\n\t")
    assert_seen_whole(markdown, kept="\n\t")
    assert page.tags <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h2",
        "p",
        "ul",
        "li",
        "table",
        "tr",
        "th",
        "td",
    } | {
        "pre",
        "span",
    }
    (row,) = markdown.split("\n\n")[3].splitlines()[2:]
    assert row.count("|") == 2
