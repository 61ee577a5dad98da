"""The report of an incident says what the journal and the samples know, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from watchdog import config
from watchdog.cli.command_line import main
from watchdog.config import Config
from watchdog.journal import runs
from watchdog.journal.sqlite import SqliteJournal
from watchdog.offline.report import build
from watchdog.offline.report.blocks import Bullets, Code, Paragraph, Table
from watchdog.offline.report.chart import sparkline
from watchdog.tsdb.page import PageList, page_from_samples

T = 1_800_000_000_000
S = 1_000

_RULES = """
targets: {bot: {repo: .}}
kpis: {rate: {expr: rate_now, unit: ratio, baseline: 5%}}
defaults: {target: bot}
rules:
  - {name: flapping, kpi: rate, crit: {above: 15%, for: 2s}}
"""
_PLAN = json.dumps(
    {
        "kind": "repair",
        "mode": "auto",
        "exhausted": "leave-running",
        "levels": [
            {"name": "feature", "steps": [{"do": "flag", "file": "config.py", "set": {"V2": False}}]},
            {"name": "version", "steps": [{"do": "git", "revert": "v2"}]},
        ],
        "verify": {"quiet": 5_000},
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text("sources: {host: {type: host, every: 5s}}\nstate: state\n")
    (tmp_path / "rules" / "r.yaml").write_text(_RULES)
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def loaded_config(folder: Path) -> Config:
    return config.load(folder, environ={})


@pytest.fixture
def journal(folder: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(folder / "state" / "journal.db")
    yield opened
    opened.close()


def record_incident(journal: SqliteJournal, *, latched: bool = False, closed: bool = True) -> int:
    """Level 1 did not help, level 2 did."""
    journal.targets.get_state("bot", T)
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "flapping: rate 20 % is above 15 %", T)
        tx.incidents.add_trip(number, "flapping", "crit", (("pair", "<b>|x"),), "rate 20 % is above 15 %", "v2", T)
        tx.timeline.add_event("tripped", "flapping (crit) tripped", T, incident=number, target="bot")
        run = tx.runs.queue_run(
            incident=number,
            target="bot",
            plan="v2",
            kind="repair",
            text=_PLAN,
            place='{"repo": "/bot"}',
            by="rule flapping",
            now=T,
        )
        for level, n, say, before, diff in (
            (0, 0, "set V2 = false in config.py", {"file": "/bot/config.py"}, "-V2 = True\n+V2 = False"),
            (1, 0, "git revert v2", {"repo": "/bot", "old": "a" * 40, "new": "b" * 40, "already": False}, ""),
        ):
            t = T + (level + 1) * 60 * S
            tx.runs.start_step(
                runs.Step(run, "level", level, n, say, "started", before, "", t, None, None, None, 1, diff)
            )
            tx.runs.end_step(runs.StepId(run, "level", level, n), "done", "it is so", t + 2 * S)
        tx.runs.update_run(
            run, status="ended", level=1, outcome="proven", reason="level version helped", ended=T + 400 * S
        )
        tx.timeline.add_event("watch", "watched for 1 m", T + 300 * S, incident=number, run=run, target="bot")
        if closed:
            tx.incidents.clear_trip(number, "flapping", "crit", (("pair", "<b>|x"),), T + 200 * S)
            tx.incidents.close_incident(number, T + 400 * S)
        if latched:
            tx.targets.update_target("bot", latched=T + S, latch_why="v2 exhausted")
    return number


def make_samples() -> PageList:
    """5 % until ten seconds before the trip, then 20 %, and 5 % again once level 2 was done."""
    points = [(T + i * S, 0.2 if -10 <= i < 122 else 0.05) for i in range(-500, 900)]
    return PageList([page_from_samples({(("__name__", "rate_now"), ("source", "host")): points}, T - 500 * S)])


def render_report(
    journal: SqliteJournal, loaded_config: Config, *, now: int = T + 500 * S, pages: PageList | None = None
) -> str:
    facts = build.collect_data(journal, 1, loaded_config, pages, now)
    assert facts is not None
    return build.render_markdown(build.build_report(facts)[1])


def test_times_are_measured_from_when_it_was_detected(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)
    facts = build.collect_data(journal, 1, loaded_config, make_samples(), T + 500 * S)
    assert facts is not None

    assert build.durations(facts) == {
        "rolled back": 122 * S,
        "back at the baseline": 300 * S,
        "root cause known": None,
        "fixed": None,
    }
    text = build.render_markdown(build.build_report(facts)[1])
    assert "| rolled back | 2 m 2 s | < 30 m | met |" in text
    assert "| root cause known | not yet | < 4 h | open |" in text
    assert "after it went bad" in text


def test_a_goal_that_was_not_reached_in_its_time_is_missed(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)

    assert "| root cause known | not yet | < 4 h | missed |" in render_report(
        journal, loaded_config, now=T + 5 * 3_600 * S
    )


def test_a_cause_that_a_person_wrote_down_counts_from_when_they_did(
    journal: SqliteJournal, loaded_config: Config
) -> None:
    record_incident(journal)
    with journal.transaction() as tx:
        tx.timeline.add_event("cause", "one random start", T + 3_600 * S, incident=1)

    text = render_report(journal, loaded_config, now=T + 90 * 60 * S)

    assert "| root cause known | 1 h | < 4 h | met |" in text
    assert "What was the root cause?" not in text


def test_kpis_are_shown_before_during_and_after(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)

    assert "| rate | 5 % | 5 % | 20 % | 5 % |" in render_report(
        journal, loaded_config, pages=make_samples(), now=T + 800 * S
    )


def test_without_samples_it_says_so(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)

    assert "not kept any more" in render_report(journal, loaded_config)


def test_it_ends_with_the_line_that_redeploys(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)
    facts = build.collect_data(journal, 1, loaded_config, None, T + 500 * S)
    assert facts is not None

    codes = [block for block in build.build_report(facts)[1] if isinstance(block, Code) and block.language == "sh"]

    assert codes[0].text.splitlines() == [
        f"git -C /bot revert {'b' * 12}",
        "# and turn back on: set V2 = false in config.py",
    ]


def test_what_was_undone_is_not_offered_for_deploying_again(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)
    with journal.transaction() as tx:
        run = tx.runs.queue_run(
            incident=1,
            target="bot",
            plan="undo 1",
            kind="repair",
            part="undo",
            text="{}",
            place="{}",
            by="ann",
            now=T + 450 * S,
        )
        tx.runs.update_run(run, status="ended", outcome="proven", ended=T + 451 * S)

    text = render_report(journal, loaded_config)

    assert "undo 1: proven." in text
    assert "To deploy it again" not in text


def test_what_a_person_must_look_at_is_asked(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal, latched=True, closed=False)
    with journal.transaction() as tx:
        tx.runs.end_step(runs.StepId(1, "level", 1, 0), "unknown", "lost connection", T)
    facts = build.collect_data(journal, 1, loaded_config, None, T + 500 * S)
    assert facts is not None

    asked = [
        item
        for block in build.build_report(facts)[1]
        if isinstance(block, Bullets) and not block.boxes
        for item in block.items
    ]

    for words in ("root cause", "latched", "still open", "git revert v2", "flapping has not recovered"):
        assert any(words in item for item in asked), words


class _TagChecker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.seen.append(tag)
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_what_labels_hold_is_text(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)
    facts = build.collect_data(journal, 1, loaded_config, make_samples(), T + 500 * S)
    assert facts is not None
    title, blocks = build.build_report(facts, build.draw_chart(facts))

    tags = _TagChecker()
    tags.feed(build.render_html(title, blocks))

    assert not tags.open
    assert "b" not in tags.seen
    assert "img" in tags.seen


def test_a_cell_does_not_break_its_table() -> None:
    text = build.render_markdown([Table(("a",), (("x | y\nz",),)), Paragraph("after")])

    assert text.splitlines()[2] == "| x &#124; y\\nz |"


def test_a_line_in_words_has_a_gap_where_there_was_nothing() -> None:
    assert sparkline(np.array([0.0, np.nan, 1.0])) == "▁ █"
    assert sparkline(np.array([np.nan])) == ""


def test_the_command_line_writes_it_and_knows_what_there_is(
    journal: SqliteJournal, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_incident(journal)

    assert main(["report", "1", "--config", str(folder), "--format", "html", "-o", str(folder / "r.html")]) == 0
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    assert main(["report", "1", "--config", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["took"]["rolled back"] == 122 * S
    assert main(["report", "7", "--config", str(folder)]) == 1
    assert "there is no incident 7 — the newest: 1" in capsys.readouterr().err
