"""The report of an incident says what the journal and the samples know, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from watchdog import config
from watchdog.cli.command_line import main
from watchdog.config import Config
from watchdog.journal import runs
from watchdog.journal.baselines import Baseline
from watchdog.journal.sqlite import SqliteJournal
from watchdog.offline.report import build
from watchdog.offline.report.blocks import Bullets, Paragraph, Table
from watchdog.offline.report.chart import sparkline
from watchdog.pipeline.baseline_tracker import expression_digest
from watchdog.rollback.standing import StandingChange
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


def record_incident(journal: SqliteJournal, *, latched: bool = False, closed: bool = True, repo: str = "/bot") -> int:
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
            place=json.dumps({"repo": repo}),
            by="rule flapping",
            now=T,
        )
        for level, n, say, before, diff in (
            (
                0,
                0,
                "set V2 = false in config.py",
                {"file": f"{repo}/config.py", "was": {"V2": "True"}},
                "-V2 = True\n+V2 = False",
            ),
            (1, 0, "git revert v2", {"repo": repo, "old": "a" * 40, "new": "b" * 40, "already": False}, ""),
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


def collect(
    journal: SqliteJournal,
    loaded_config: Config,
    pages: PageList | None = None,
    now: int = T + 500 * S,
    **keys: Any,
) -> build.IncidentData:
    incident = journal.incidents.find_incident(1)
    assert incident is not None
    return build.collect_data(journal, incident, loaded_config, pages, now, **keys)


def render_report(
    journal: SqliteJournal,
    loaded_config: Config,
    *,
    now: int = T + 500 * S,
    pages: PageList | None = None,
    **keys: Any,
) -> str:
    return build.render_markdown(build.build_report(collect(journal, loaded_config, pages, now, **keys))[1])


def test_times_are_measured_from_when_it_was_detected(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)
    facts = collect(journal, loaded_config, make_samples())

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


def left(how: str, what: str, by_hand: str | None, unseen: str | None = None) -> StandingChange:
    return StandingChange(1, 1, "v2", f"{how} {what}", T + 60 * S, what, how, what, by_hand, unseen)


def test_what_is_still_as_a_plan_left_it_is_told_with_what_puts_it_back_the_newest_first(
    journal: SqliteJournal, loaded_config: Config
) -> None:
    record_incident(journal)
    standing = [
        left("off", "V2", "V2 = True in config.py, then restart the bot"),
        left("reverted", "v2", "git -C /bot revert bbbbbbbbbbbb"),
    ]

    facts = collect(journal, loaded_config, standing=standing)

    tables = [block for block in build.build_report(facts)[1] if isinstance(block, Table)]
    assert [row[:2] + row[3:] for row in tables[-1].rows] == [
        ("v2", "reverted", "git -C /bot revert bbbbbbbbbbbb"),
        ("V2", "off", "V2 = True in config.py, then restart the bot"),
    ]


def test_what_is_no_longer_so_is_not_told_as_if_it_were(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)

    assert "put it back" not in render_report(journal, loaded_config)


def test_what_could_not_be_looked_at_is_told_as_that(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)

    text = render_report(journal, loaded_config, standing=[left("off", "V2", None, "the disk is gone")])

    assert "- Whether V2 is still off: it could not be looked at (the disk is gone)." in text
    assert "put it back" not in text


def test_what_a_person_must_look_at_is_asked(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal, latched=True, closed=False)
    with journal.transaction() as tx:
        tx.runs.end_step(runs.StepId(1, "level", 1, 0), "unknown", "lost connection", T)
    facts = collect(journal, loaded_config, None)

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
    facts = collect(journal, loaded_config, make_samples())
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


@pytest.mark.parametrize("value", [0.7, 0.1, 1 / 3, 1e-12, 0.0, -0.7])
@pytest.mark.parametrize("count", [47, 200, 599])
def test_the_course_of_what_does_not_change_is_flat(value: float, count: int) -> None:
    assert set(sparkline(np.full(count, value))) == {"▁"}


# ─ how long it took ─


def record_run(
    journal: SqliteJournal, kind: str, outcome: runs.RunOutcome, ended: int, *, reason: str = "", steps: int = 1
) -> None:
    with journal.transaction() as tx:
        run = tx.runs.queue_run(
            incident=1, target="bot", plan=kind, kind=kind, text=_PLAN, place="{}", by="rule flapping", now=T
        )  # fmt: skip
        for n in range(steps):
            tx.runs.start_step(
                runs.Step(run, "level", 0, n, "stop", "started", {}, "", ended - 5 * S, None, None, None, 1, "")
            )
            tx.runs.end_step(runs.StepId(run, "level", 0, n), "done", "it is so", ended)
        tx.runs.update_run(run, status="ended", outcome=outcome, reason=reason, ended=ended)


def open_incident(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        tx.incidents.open_incident("bot", "crit", "flapping: rate 70 % is above 15 %", T)
        tx.incidents.add_trip(1, "flapping", "crit", (), "rate 70 % is above 15 %", "repair", T)


def rows_of_durations(data: build.IncidentData) -> dict[str, tuple[str, ...]]:
    table = next(block for block in build.build_report(data)[1] if isinstance(block, Table))
    return {row[0]: row[1:] for row in table.rows}


def test_what_was_only_made_safe_was_not_rolled_back_and_is_not_back_at_its_baseline(
    journal: SqliteJournal, loaded_config: Config
) -> None:
    open_incident(journal)
    record_run(journal, "repair", "exhausted", T + 30 * S, reason="nobody approved it within 30 s", steps=0)
    record_run(journal, "halt", "proven", T + 45 * S)

    still_open = collect(journal, loaded_config)
    with journal.transaction() as tx:  # a person said resume, which closes it
        tx.incidents.close_incident(1, T + 400 * S)
    closed = collect(journal, loaded_config)

    nothing = {"rolled back": None, "back at the baseline": None, "root cause known": None, "fixed": None}
    assert build.durations(still_open) == build.durations(closed) == nothing
    assert rows_of_durations(still_open)["rolled back"] == ("not rolled back", "< 30 m", "missed")
    assert rows_of_durations(still_open)["back at the baseline"] == ("not yet", "< 1 h", "open")
    assert rows_of_durations(closed)["back at the baseline"] == ("not back", "< 1 h", "missed")


def test_a_repair_that_is_at_work_may_still_roll_back(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal, closed=False)
    with journal.transaction() as tx:
        tx.runs.update_run(1, status="running", outcome=None, ended=None)

    assert rows_of_durations(collect(journal, loaded_config))["rolled back"] == ("not yet", "< 30 m", "open")


@pytest.mark.parametrize("outcome", ["denied", "not-needed", "dry-run"])
def test_who_wanted_no_rollback_missed_no_goal(
    journal: SqliteJournal, loaded_config: Config, outcome: runs.RunOutcome
) -> None:
    open_incident(journal)
    record_run(journal, "repair", outcome, T + 30 * S, steps=0)

    assert rows_of_durations(collect(journal, loaded_config))["rolled back"] == ("not rolled back", "< 30 m", "–")


def test_without_a_repair_it_is_back_when_the_last_rule_recovered(
    journal: SqliteJournal, loaded_config: Config
) -> None:
    open_incident(journal)
    with journal.transaction() as tx:
        tx.incidents.add_trip(1, "slow", "warn", (), "slow", None, T)
        tx.incidents.clear_trip(1, "flapping", "crit", (), T + 50 * S)
    assert build.durations(collect(journal, loaded_config))["back at the baseline"] is None
    with journal.transaction() as tx:
        tx.incidents.clear_trip(1, "slow", "warn", (), T + 70 * S)
        tx.incidents.close_incident(1, T + 90 * S)

    assert build.durations(collect(journal, loaded_config))["back at the baseline"] == 70 * S


def test_what_is_gone_has_not_recovered(journal: SqliteJournal, loaded_config: Config) -> None:
    open_incident(journal)
    with journal.transaction() as tx:
        tx.incidents.clear_trip(1, "flapping", "crit", (), T + 50 * S)
        tx.timeline.add_event("gone", "flapping (crit) forgotten: no value", T + 50 * S, incident=1, target="bot")

    assert build.durations(collect(journal, loaded_config))["back at the baseline"] is None


def test_a_rule_that_tripped_after_the_proof_is_not_back(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal, closed=False)
    with journal.transaction() as tx:
        tx.incidents.clear_trip(1, "flapping", "crit", (("pair", "<b>|x"),), T + 200 * S)
        tx.incidents.add_trip(1, "flapping", "crit", (), "again", "v2", T + 450 * S)

    assert build.durations(collect(journal, loaded_config))["back at the baseline"] is None


def test_a_goal_that_was_missed_by_a_moment_is_seen_to_be(journal: SqliteJournal, loaded_config: Config) -> None:
    record_incident(journal)
    with journal.transaction() as tx:
        tx.timeline.add_event("cause", "one random start", T + 4 * 3_600 * S + 250, incident=1)

    row = rows_of_durations(collect(journal, loaded_config, now=T + 5 * 3_600 * S))["root cause known"]

    assert row == ("4 h 0.2 s", "< 4 h", "missed")


# ─ what is not known ─


def rate_samples(*spans: tuple[int, int, float], metric: str = "rate_now") -> PageList:
    """One a second, from and to seconds after T, exclusively."""
    points = [(T + i * S, value) for start, end, value in spans for i in range(start, end)]
    first = min(t for t, _ in points)
    return PageList([page_from_samples({(("__name__", metric), ("source", "host")): points}, first)])


def config_of(folder: Path, rules: str) -> Config:
    (folder / "rules" / "r.yaml").write_text(rules)
    return config.load(folder, environ={})


def test_nothing_is_told_of_the_time_after_the_last_sample_that_is_known(journal: SqliteJournal, folder: Path) -> None:
    ages = config_of(
        folder,
        _RULES.replace(
            "expr: rate_now, unit: ratio, baseline: 5%", "expr: time() - tick, unit: seconds, baseline: 1s"
        ).replace("15%", "15s"),
    )
    open_incident(journal)
    points = [(T + i * S, (T + i * S) / 1_000 - 0.8) for i in range(-60, 61)]
    pages = PageList([page_from_samples({(("__name__", "tick"), ("source", "host")): points}, T - 60 * S)])

    (line,) = collect(journal, ages, pages, T + 100 * S).lines
    told = render_report(journal, ages, pages=pages, now=T + 100 * S)

    assert 0.8 <= np.nanmax(line.values) < 1.8
    assert np.isfinite(line.values).tolist() == (abs(line.times - T) <= 60 * S).tolist()
    assert "- Samples of the last 40 s: nothing is told of that time." in told


def test_of_an_end_that_nobody_has_seen_no_earlier_value_is_told(journal: SqliteJournal, loaded_config: Config) -> None:
    open_incident(journal)

    unseen, seen = (
        render_report(journal, loaded_config, pages=rate_samples((-60, until, 0.7)), now=T + 100 * S)
        for until in (61, 101)
    )

    assert "| KPI | baseline | before | during | now |" in unseen
    assert "| rate | 5 % | 70 % | 70 % | – |" in unseen
    assert "| rate | 5 % | 70 % | 70 % | 70 % |" in seen


def test_what_is_known_to_be_no_sample_is_told_as_that(journal: SqliteJournal, loaded_config: Config) -> None:
    open_incident(journal)
    pages = rate_samples((-60, 61, 0.7))

    told = render_report(journal, loaded_config, pages=pages, now=T + 100 * S, known_until=T + 100 * S)

    assert "lacks" not in told


def test_without_a_baseline_the_least_and_the_greatest_are_told(journal: SqliteJournal, folder: Path) -> None:
    unknown = config_of(folder, _RULES.replace("baseline: 5%", "baseline: captured"))
    open_incident(journal)
    pages = rate_samples((-60, 10, 0.95), (10, 50, 0.599), (50, 61, 0.9))

    told = render_report(journal, unknown, pages=pages, now=T + 60 * S)

    assert "| rate | – | 95 % | 59.9 % to 95 % | 90 % |" in told
    assert "- The baseline of rate at that time (none was captured): what is farthest from it cannot be told." in told


def test_a_baseline_is_the_one_of_that_time(journal: SqliteJournal, folder: Path) -> None:
    captured = config_of(folder, _RULES.replace("baseline: 5%", "baseline: captured"))
    open_incident(journal)
    digest = expression_digest(captured.kpis["rate"])

    def baseline(t: int) -> str:
        with journal.transaction() as tx:
            tx.baselines.save_baseline(Baseline("rate", "captured", digest, 0.95, t, 10, 0, "ann", None))
        return render_report(journal, captured, pages=rate_samples((-60, 61, 0.599)), now=T + 60 * S)

    assert "| rate | 95 % | 59.9 % | 59.9 % |" in baseline(T - S)
    assert "(it was captured later)" in baseline(T + S)


def test_a_learned_baseline_is_what_had_been_learned_by_then(journal: SqliteJournal, folder: Path) -> None:
    learned = config_of(
        folder,
        _RULES.replace("baseline: 5%", "baseline: {learn: 20s, min_samples: 10}").replace(
            "above: 15%", "above: 2x baseline, ceiling: 90%"
        ),
    )
    open_incident(journal)
    with journal.transaction() as tx:
        points = [(T + i * S, 0.1 if i <= 0 else 0.6) for i in range(-30, 60)]
        tx.baselines.save_points("rate", expression_digest(learned.kpis["rate"]), points, 0, "bot")

    told = render_report(journal, learned, pages=rate_samples((-60, 61, 0.599)), now=T + 60 * S)

    assert "| rate | 10 % | 59.9 % | 59.9 % |" in told


def test_a_kpi_since_resume_has_forgotten_what_was_before(journal: SqliteJournal, folder: Path) -> None:
    drawdown = config_of(
        folder,
        _RULES.replace(
            "rate_now, unit: ratio, baseline: 5%", """'max_over_time(rate_now[1h])', unit: ratio, since: resume"""
        ),
    )
    journal.targets.get_state("bot", T - 1_000 * S)
    open_incident(journal)
    with journal.transaction() as tx:
        tx.timeline.add_event("resumed", "resumed by ann", T - 30 * S, target="bot")
        tx.targets.update_target("bot", epoch=T - 30 * S)
    pages = rate_samples((-60, -40, 0.9), (-40, 61, 0.2))

    told = render_report(journal, drawdown, pages=pages, now=T + 60 * S)

    assert "| rate | – | " in told
    assert "| 20 % | 20 % |" in told


def test_a_rule_that_is_not_configured_now_is_missed(journal: SqliteJournal, folder: Path) -> None:
    other = config_of(folder, _RULES.replace("flapping", "other"))
    open_incident(journal)

    told = render_report(journal, other, pages=rate_samples((-60, 61, 0.599)), now=T + 60 * S)

    assert "- Rule flapping, which is not configured now: its KPI is not shown." in told


def test_the_command_line_writes_it_and_knows_what_there_is(
    journal: SqliteJournal, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_incident(journal)

    assert main(["report", "1", "--config", str(folder), "--format", "html", "-o", str(folder / "r.html")]) == 0
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    assert (folder / "r.html").stat().st_mode & 0o777 == 0o600
    assert main(["report", "1", "--config", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["took"]["rolled back"] == 122 * S
    assert main(["report", "7", "--config", str(folder)]) == 1
    assert "there is no incident 7 — the newest: 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_looks_whether_what_was_changed_is_still_so(
    journal: SqliteJournal, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_incident(journal, repo=str(folder))

    def standing() -> list[str]:
        assert main(["report", "1", "--config", str(folder), "--json"]) == 0
        return [one["what"] for one in json.loads(capsys.readouterr().out)["standing"]]

    (folder / "config.py").write_text("V2 = False\n")
    assert standing() == ["V2"]
    (folder / "config.py").write_text("OTHER = 1\n")  # as a revert leaves it
    assert standing() == []


@pytest.mark.slow
def test_the_command_line_names_the_resume_that_puts_back_what_its_stages_do(
    journal: SqliteJournal, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads(_PLAN) | {
        "exhausted": "leave-running",
        "recover": [
            {
                "name": "on",
                "steps": [{"do": "flag", "file": "config.py", "set": {"V2": True}}],
                "verify": {"that": ["rate_now < 1"], "quiet": "1m", "give_up": "5m"},
            }
        ],
        "verify": {"quiet": "5s"},
    }
    (folder / "rules" / "r.yaml").write_text(f"{_RULES}plans: {json.dumps({'v2': plan})}\n")
    (folder / "config.py").write_text("V2 = False\n")
    record_incident(journal, repo=str(folder), latched=True)

    assert main(["report", "1", "--config", str(folder)]) == 0

    told = capsys.readouterr().out
    assert 'trading-watchdog resume bot --reason "…" |' in told
    assert "V2 = True in config.py" not in told


def test_a_rule_that_tripped_at_both_levels_is_asked_for_once(journal: SqliteJournal, loaded_config: Config) -> None:
    number = record_incident(journal, closed=False)
    with journal.transaction() as tx:
        tx.incidents.add_trip(number, "flapping", "warn", (), "rate 20 % is above 10 %", None, T)

    assert render_report(journal, loaded_config).count("flapping has not recovered") == 1


def test_the_command_line_says_what_nobody_could_be_asked(
    journal: SqliteJournal, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_incident(journal)

    assert main(["report", "1", "--config", str(folder)]) == 0

    assert "- What the watchdog did not write down: none runs." in capsys.readouterr().out


def test_a_token_that_is_not_in_the_environment_changes_no_number(
    journal: SqliteJournal, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (folder / "watchdog.yaml").open("a") as main_file:
        main_file.write('channels: {chat: {type: slack, token: "${CHAT_TOKEN}", channel: C0123456}}\n')
    rules = _RULES.replace("baseline: 5%", "baseline: 95%").replace("above: 15%", "below: 70%")
    (folder / "rules" / "r.yaml").write_text(rules)
    open_incident(journal)
    samples = [(T + i * S, 0.599 if 10 <= i < 50 else 0.95) for i in range(-60, 61)]
    (folder / "past.csv").write_text("t,rate_now\n" + "".join(f"{t},{value}\n" for t, value in samples))

    def kpi_row() -> str:
        assert main(["report", "1", "--config", str(folder), "--history", str(folder / "past.csv")]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| rate |"))

    monkeypatch.setattr("time.time_ns", lambda: (T + 60 * S) * 1_000_000)
    monkeypatch.setenv("CHAT_TOKEN", "xoxb-12345678")
    with_token = kpi_row()
    monkeypatch.delenv("CHAT_TOKEN")

    assert with_token.startswith("| rate | 95 % | 95 % | 59.9 % | 95 % |")
    assert kpi_row()[:40] == with_token[:40]
