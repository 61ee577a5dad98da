"""`summary:` in watchdog.yaml: what it may say, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog import config

MAIN = """\
sources: {{bot: {{type: scrape, url: "http://127.0.0.1:9/metrics"}}}}
channels:
  slack: {{type: slack, token: xoxb-12345678, channel: C0123456, from: {severity}}}
state: state
{line}
"""


def check(folder: Path, line: str, severity: str = "info") -> tuple[config.Config | None, list[str]]:
    (folder / "watchdog.yaml").write_text(MAIN.format(line=line, severity=severity))
    checked, problems = config.check_files([folder], environ={})
    found = problems if checked is None else checked.warnings
    return checked, [str(problem).partition("watchdog.yaml:")[2] for problem in found]


def test_times_and_channels_are_read(tmp_path: Path) -> None:
    said = 'summary: {daily: {at: 7:05}, weekly: {day: Sun, at: "18:30"}, timezone: Europe/Berlin, notify: [slack]}'
    checked, problems = check(tmp_path, said)

    assert checked is not None, problems
    assert checked.summary is not None
    assert checked.summary.schedule("daily") == ("07:05", None)
    assert checked.summary.schedule("weekly") == ("18:30", "sun")
    assert (checked.summary.timezone, checked.summary.notify) == ("Europe/Berlin", ("slack",))


def test_without_it_there_is_none(tmp_path: Path) -> None:
    checked, _ = check(tmp_path, "")

    assert checked is not None
    assert checked.summary is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ('{daily: {at: "25:00"}}', "5:23: a time of the day reads like \"08:00\", from 00:00 to 23:59, not '25:00'"),
        ("{daily: {at: 8}}", '5:23: a time of the day reads like "08:00", from 00:00 to 23:59, not 8'),
        (
            "{weekly: {day: monday}}",
            "5:25: 'monday' is no day of the week — say one of mon, tue, wed, thu, fri, sat, sun",
        ),
        (
            "{daily: {}, timezone: Mars}",
            "5:32: 'Mars' is no time zone — say one such as Europe/Berlin or America/New_York",
        ),
        ("{}", '5:1: summary needs daily, weekly or both: daily: {at: "08:00"}'),
        (
            "{daily: {}, notify: []}",
            "5:1: notify names no channel — name one, or leave it out for those with from: info",
        ),
        ("{daily: {}, notify: [slak]}", "5:31: there is no channel slak — did you mean slack?"),
        ("{dayly: {}}", "5:11: dayly is not known here — did you mean daily?"),
        ("daily", "5:10: this should be a set of keys"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands_and_how_it_is_cured(tmp_path: Path, said: str, answer: str) -> None:
    checked, problems = check(tmp_path, f"summary: {said}")

    assert checked is None
    assert any(problem.startswith(answer) for problem in problems), problems


def test_a_summary_that_nobody_gets_is_a_warning(tmp_path: Path) -> None:
    cure = "name one under summary: notify: [slack]"
    assert check(tmp_path, "summary: {daily: {}}", "warn")[1] == [
        f"5:1: nobody gets the summary: no channel says from: info — {cure}"
    ]
    assert check(tmp_path, "summary: {daily: {}, notify: [slack]}", "warn")[1] == []
    assert check(tmp_path, "summary: {daily: {}}", "info")[1] == []


def test_an_edit_of_it_is_an_edit(tmp_path: Path) -> None:
    before, after = (check(tmp_path, f'summary: {{daily: {{at: "{at}"}}}}')[0] for at in ("08:00", "09:00"))

    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint
