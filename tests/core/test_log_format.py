"""Nobody writes a line of our log but we."""

from __future__ import annotations

import logging
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.log_format import JournaldFormatter, LineFormatter, log_uncaught
from watchdog.core.telemetry import log

FORGED = "x\n2026-11-30 20:00:00,000 INFO incident 1 closed: all is well"
PLAIN = LineFormatter("%(levelname)s %(message)s")
any_text = st.text(st.characters(codec=None, exclude_categories=()) | st.sampled_from("\n\r\x1b\u2028\x0b\x85"))


def record_of(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("watchdog", logging.WARNING, __file__, 1, message, args, info)


@given(any_text)
def test_a_record_is_one_line_whatever_its_message_holds(text: str) -> None:
    for formatter in (PLAIN, JournaldFormatter("%(message)s")):
        assert len(formatter.format(record_of("%s: %s", "source", text)).splitlines()) == 1


def test_what_is_not_seen_is_shown_by_its_escape() -> None:
    assert PLAIN.format(record_of("source: %s", "a\nb\x1b[2J")) == r"WARNING source: a\nb\x1b[2J"


@given(any_text)
def test_the_lines_of_a_traceback_look_like_no_record(text: str) -> None:
    try:
        raise ValueError(FORGED + text)
    except ValueError as error:
        record = record_of("web: / broke", error=error)
    record.exc_text = "another handler was here first"

    first, *rest = PLAIN.format(record).splitlines()

    assert first == "WARNING web: / broke"
    assert all(line.startswith("  | ") for line in rest)
    assert any("incident 1 closed" in line for line in rest)


def test_under_systemd_every_line_has_its_priority() -> None:
    try:
        raise ValueError("<0>forged\n<0>forged")
    except ValueError as error:
        shown = JournaldFormatter("%(levelname)s %(message)s").format(record_of("broke", error=error))

    lines = shown.splitlines()
    assert lines[0] == "<4>WARNING broke"
    assert all(line.startswith("<4>  | ") for line in lines[1:])


def test_no_line_is_so_long_that_systemd_cuts_it_in_two() -> None:
    shown = JournaldFormatter("%(message)s").format(record_of("%s", "\U0001f6a8" * 50_000))

    assert len(shown.encode()) < 48 * 1024


def test_what_a_thread_did_not_catch_goes_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "captureWarnings", lambda _: None)
    log_uncaught()
    handler = Handler()
    log.addHandler(handler)
    try:

        def fail() -> None:
            raise ValueError(FORGED)

        thread = threading.Thread(target=fail, name="web")
        thread.start()
        thread.join()
    finally:
        log.removeHandler(handler)

    lines = PLAIN.format(heard[0]).splitlines()
    assert lines[0] == "ERROR a mistake of ours in the thread web"
    assert all(line.startswith("  | ") for line in lines[1:])
