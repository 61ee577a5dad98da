"""What `trading-watchdog status` prints, of a real pipeline."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline_harness import MINUTE, RULES_YAML, START, PipelineHarness
from watchdog.app.status import build_status
from watchdog.cli import status
from watchdog.cli.command_line import main
from watchdog.core.model import Message
from watchdog.notifiers import SlackNotifier
from watchdog.pictures import plots
from watchdog.rollback.standing import StandingChange
from watchdog.web.status_page import render_status_page
from watchdog.web.status_rows import build_status_rows, format_time


def get_status(harness: PipelineHarness, standing: Sequence[StandingChange] = ()) -> Any:
    known = build_status(
        harness.config,
        harness.pipeline,
        harness.journal,
        dict.fromkeys(harness.config.sources),
        harness.now,
        lambda _: standing,
    )
    return json.loads(json.dumps(known))


def print_status(
    harness: PipelineHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    standing: Sequence[StandingChange] = (),
) -> list[str]:
    def answered(*_: object) -> Any:
        return get_status(harness, standing)

    monkeypatch.setattr(status, "fetch_status", answered)
    assert status.status(argparse.Namespace(config=harness.folder, json=False)) == 0
    return capsys.readouterr().out.splitlines()


def test_what_fires_stands_above_what_is_well_and_asleep_or_unread_is_not_called_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(4, error_ratio=0.5, market_open=0, equity=float("nan"))

    lines = print_status(harness, monkeypatch, capsys)

    rules = [line.removeprefix("rule").split(" for ")[0].split() for line in lines if line.startswith("rule ")]
    assert rules[:3] == [
        ["errors", "source=bot", "crit", "firing"],
        ["errors", "source=bot", "warn", "firing"],
        ["drawdown", "crit", "no", "data"],
    ]
    assert rules[3][:3] == ["no-ticks", "not", "judged:"]
    assert any(line.split() == ["kpi", "pairs", "no", "rule", "judges", "it"] for line in lines)


def test_for_how_long_there_is_no_data_counts_from_when_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(60, equity=1_000)
    harness.rounds(5, equity=float("nan"))

    (line,) = [line for line in print_status(harness, monkeypatch, capsys) if "drawdown" in line and "crit" in line]
    assert "crit no data for 4 s: " in line
    harness.journal.close()


def test_the_page_says_what_is_wrong_first_and_takes_no_label_for_its_own_words(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path)
    harness.labelled_series = [("left", (("side", "<b>"),), 1.0), ("right", (("side", "<b>"),), 2.0)]
    harness.rounds(4)
    assert "<h1>Trading Watchdog – nothing is wrong</h1>" in render_status_page(get_status(harness))

    harness.labelled_series.append(("error_ratio", (("pair", "<script>"),), 0.5))
    harness.rounds(4, market_open=0)
    page = render_status_page(get_status(harness))

    assert "<title>Trading Watchdog – crit: errors pair=&lt;script&gt; source=bot</title>" in page
    assert page.index("<h2>Targets</h2>") < page.index("<h2>Rules</h2>") < page.index("<h2>Sources</h2>")
    assert "<script>" not in page
    assert 'class="crit"><dt>errors pair=&lt;script&gt; source=bot</dt><dd>crit firing' in page


STANDING = StandingChange(
    run=4,
    incident=2,
    plan="halt",
    step="set TRADING = false in config.py",
    since=START,
    thing="/srv/bot/config.py: TRADING",
    how="off",
    what="TRADING",
    by_hand="TRADING = True in config.py, then restart the bot",
)


def test_what_a_plan_has_left_off_is_not_quiet_and_not_nothing_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(4)

    known = get_status(harness, [STANDING])

    assert known["targets"]["bot"]["left"] == ["off: TRADING"]
    (one,) = known["targets"]["bot"]["standing"]
    assert (one["how"], one["what"], one["run"], one["plan"], one["since"]) == ("off", "TRADING", 4, "halt", START)
    assert one["back"] == "TRADING = True in config.py, then restart the bot"
    lines = print_status(harness, monkeypatch, capsys, [STANDING])
    target = next(n for n, line in enumerate(lines) if line.startswith("target"))
    assert lines[target].split() == ["target", "bot", "off:", "TRADING"]
    assert lines[target + 1].split("; ") == [
        f"{lines[target + 1].partition('TRADING')[0]}TRADING: off for 4 s by halt (run 4)",
        "back with: TRADING = True in config.py, then restart the bot",
    ]
    assert "<h1>Trading Watchdog – warn: bot</h1>" in render_status_page(known)


def test_what_a_resume_would_put_back_says_so_and_what_it_would_not_is_for_a_person(tmp_path: Path) -> None:
    recover = """
    recover:
      - {name: trading, steps: [{do: flag, file: config.py, set: {TRADING: true}}], verify: {quiet: 1s}}
  ladder:
"""
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("\n  ladder:\n", recover, 1))
    harness.rounds(2)
    harness.rounds(2, equity=800)
    (run,) = harness.runs
    harness.end_run(run, "proven")
    other = STANDING._replace(
        thing="/srv/bot/config.py: FEATURE", what="FEATURE", by_hand="FEATURE = True in config.py"
    )

    standing = get_status(harness, [STANDING, other])["targets"]["bot"]["standing"]

    assert [one["back"] for one in standing] == [
        'trading-watchdog resume bot --reason "…"',
        "FEATURE = True in config.py",
    ]


def test_the_way_back_to_work_is_no_halt_and_a_plan_at_work_is_seen_where_no_file_names_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(2)
    with harness.journal.transaction() as tx:
        tx.runs.queue_run(
            incident=None,
            target="gone",
            plan="halt",
            kind="halt",
            text="{}",
            place="{}",
            by="person ann",
            now=harness.now,
            part="recover",
        )

    lines = print_status(harness, monkeypatch, capsys)

    assert lines[-1].split(maxsplit=2) == ["target", "gone", "no longer configured; plan halt (recover) queued (run 1)"]


def test_what_is_left_of_a_budget_is_said_with_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(4)
    assert get_status(harness)["targets"]["bot"]["budget"] == [{"text": "2 per 1h", "left": 2, "frees": None}]
    assert not any("budget" in line for line in print_status(harness, monkeypatch, capsys))

    harness.rounds(4, error_ratio=0.5)
    (run,) = harness.runs

    frees = run.queued + 60 * MINUTE
    assert get_status(harness)["targets"]["bot"]["budget"] == [{"text": "2 per 1h", "left": 1, "frees": frees}]
    assert any(
        line.strip() == f"budget 2 per 1h: 1 left until {format_time(frees)}"
        for line in print_status(harness, monkeypatch, capsys)
    )


def test_of_each_source_it_is_told_how_old_its_newest_sample_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)

    assert get_status(harness)["sources"]["bot"]["age"] is None
    harness.round()
    harness.lost_sources = {"host"}
    harness.rounds(3)
    harness.pipeline.add_samples("bot", [], harness.now + 2_500)  # an answer that holds no series
    harness.now += 2_500
    lines = [" ".join(line.split()) for line in print_status(harness, monkeypatch, capsys)]

    assert get_status(harness)["sources"]["bot"]["age"] == 2_500
    assert "source bot up; newest sample 2 s old" in lines
    assert "source host up; newest sample 5 s old" in lines


def test_a_channel_that_is_late_is_shown_and_one_that_delivers_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(4, error_ratio=0.07)
    with harness.journal.transaction() as tx:
        (waiting,) = harness.journal.messages.list_undelivered(1)
        tx.messages.mark_postponed(waiting.id, harness.now + MINUTE, "Slack is in trouble (HTTP 503)")
        tx.messages.pause_channel("chat", harness.now + 60 * MINUTE, harness.now, harness.now)
    assert not [line for line in print_status(harness, monkeypatch, capsys) if line.startswith("channel")]
    harness.now += 2 * MINUTE

    (line,) = [line for line in print_status(harness, monkeypatch, capsys) if line.startswith("channel")]
    assert line.split(maxsplit=2)[1:] == [
        "chat",
        "1 message not delivered for 2 m 3 s, asked to wait for another 58 m: Slack is in trouble (HTTP 503)",
    ]
    channels = get_status(harness)["channels"]
    assert (channels["chat"]["late"], channels["chat"]["unsent"]) == (True, 1)
    assert channels["pager"] == {"unsent": 0, "age": None, "late": False, "error": None, "paused_until": None}
    page = render_status_page(get_status(harness))
    assert "<h2>Channels</h2>" in page
    assert "crit: chat" in page
    metrics = harness.pipeline.telemetry.registry
    assert metrics.get_sample_value("watchdog_notifications_unsent", {"channel": "chat"}) == 1
    assert metrics.get_sample_value("watchdog_notifications_unsent", {"channel": "pager"}) == 0
    name = "watchdog_notifications_oldest_unsent_timestamp_seconds"
    assert metrics.get_sample_value(name, {"channel": "chat"}) == waiting.created / 1_000
    assert metrics.get_sample_value(name, {"channel": "pager"}) is None


def test_an_incident_says_which_messages_did_not_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(4, error_ratio=0.07)
    with harness.journal.transaction() as tx:
        (waiting,) = harness.journal.messages.list_undelivered(1)
        tx.messages.mark_failed(waiting.id, "Slack refused: not_in_channel", harness.now)
        tx.messages.enqueue(Message("warn", "bot: slow tripped", incident=1), ["chat"], harness.now)
    monkeypatch.setattr(status, "open_journal", lambda _: (harness.config, harness.journal))

    status.list_incidents(argparse.Namespace(config=harness.folder, json=False, id=1))
    refused, unsent = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines() if "channel chat" in line]
    assert refused == "refused by channel chat (Slack refused: not_in_channel): bot: errors tripped"
    assert unsent == "not delivered yet by channel chat: bot: slow tripped"
    status.list_incidents(argparse.Namespace(config=harness.folder, json=True, id=1))
    assert [(one["channel"], one["refused"]) for one in json.loads(capsys.readouterr().out)[0]["undelivered"]] == [
        ("chat", True),
        ("chat", False),
    ]


def test_that_messages_go_out_without_pictures_is_a_line_and_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    monkeypatch.setattr(SlackNotifier, "shows_pictures", True, raising=False)
    harness = PipelineHarness(tmp_path)
    harness.round()

    lines = [line for line in print_status(harness, monkeypatch, capsys) if "without pictures" in line]

    assert len(lines) == 1
    assert "pip install matplotlib" in lines[0]
    assert [row.state for row in build_status_rows(get_status(harness)) if "without pictures" in row.text] == ["none"]

    assert main(["check", str(harness.folder)]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "without pictures" in line]
    assert note.startswith("note: ")
