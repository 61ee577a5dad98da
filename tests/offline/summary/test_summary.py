"""What a summary says of a day that the journal and the samples know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.support.summary_example import DAY, HOUR, MINUTE, NOW, RULES, SummaryExample
from watchdog.core.model import Message
from watchdog.offline.history.loader import HistoryError
from watchdog.offline.replay.outcome import ReplayTrip
from watchdog.offline.summary import noise, series_part
from watchdog.offline.summary.noise import candidate_limits, with_limit


@pytest.fixture
def example(tmp_path: Path) -> SummaryExample:
    return SummaryExample(tmp_path)


def line(message: Message, beginning: str) -> str:
    """The one that begins so."""
    (found,) = [each for each in message.lines if each.startswith(beginning)]
    return found


def has(message: Message, words: str) -> bool:
    return any(words in each for each in message.lines)


def test_a_quiet_day_is_told_in_a_few_lines(example: SummaryExample) -> None:
    message = example.messages()[-1]

    assert message.severity == "info"
    assert message.title == "Daily summary: both targets are well, no incident"
    assert message.lines[:2] == ("alpha: well", "beta: well")
    assert message.lines[-2:] == ("not looked at: there are no samples yet", "since Mon 08:00, 1 d")


def test_an_incident_says_how_it_ended_and_how_long_what_took(example: SummaryExample) -> None:
    example.tell_night()
    example.tell_samples()

    message = example.messages()[-1]

    told = line(message, "#1 ")
    assert told.startswith(
        "#1 Mon 22:00 alpha: drawdown 12.4 % is above 10 % — over after 10 m; rollback (repair) helped"
    )
    for part in ("detected ", "acted after 1 s", "rolled back after 9 s", "back at the baseline after 4 m"):
        assert part in told
    assert "acknowledged by ann after 5 m" in told


def test_incidents_that_came_to_nothing_are_counted_and_not_listed(example: SummaryExample) -> None:
    example.tell_night()

    message = example.messages()[-1]

    assert has(message, "queue 5 times, over by itself each time, after 2 m at most; the last #2 Tue 04:00")
    assert message.title.endswith("6 incidents")


def test_a_day_of_very_many_incidents_is_a_message_all_the_same(example: SummaryExample) -> None:
    with example.journal.transaction():
        for n in range(700):
            example.trip_for_nothing(f"rule{n % 50}", "beta", "warn", NOW - n * 1_000 - 200_000)

    message = example.messages()[-1]

    assert message.title.endswith("700 incidents")
    assert len(message.lines) < 40
    assert has(message, "more kinds of incidents that were over by themselves")


def test_what_waits_for_a_person_stands_at_the_top(example: SummaryExample) -> None:
    example.tell_night()

    message = example.messages()[-1]

    assert message.title.startswith("Daily summary: 1 of 2 targets is not well")
    assert message.lines[1].startswith(
        "beta: rollback (repair) waits for approval; latched for 3 h, until somebody says resume"
    )
    assert message.lines[2] == "waits for you until Tue 08:10: beta: rollback (repair) (approve 2 or deny 2)"
    assert has(message, "silenced until Tue 10:00: queue (bob: the exchange migrates)")


def test_a_hold_that_is_over_and_a_latch_that_was_opened_are_not_told(example: SummaryExample) -> None:
    example.tell_night()
    with example.journal.transaction() as tx:
        tx.targets.update_target("beta", latched=None, latch_why=None)
        tx.suppressions.add_suppression("hold", "alpha", NOW - 1, "ann: deploy", NOW - HOUR)

    message = example.messages()[-1]

    assert not has(message, "latched")
    assert not has(message, "held")


def test_kpis_are_told_beside_their_baselines_and_their_range(example: SummaryExample) -> None:
    example.tell_samples()

    message = example.messages()[-1]

    assert line(message, "alpha drawdown") == "alpha drawdown 0 % (0 % to 12.6 %), baseline 2 %"
    assert line(message, "beta queue") == "beta queue 9 (9 to 22), baseline 10"


def test_a_kpi_that_could_not_be_read_is_not_said_to_have_no_value(
    example: SummaryExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise HistoryError("that reads 9 samples, more than 8")

    example.tell_samples()
    monkeypatch.setattr(series_part, "load_for", refuse)

    message = example.messages()[-1]

    assert "queue: that reads 9 samples, more than 8" in line(message, "not looked at: ")
    assert not has(message, "no value now")


def test_the_account_strategies_and_the_worst_trade_are_told_where_the_metrics_are_there(
    example: SummaryExample,
) -> None:
    example.tell_samples()

    message = example.messages()[-1]

    assert line(message, "alpha: P&L") == "alpha: P&L +120.00 USDT (+1.2 %), equity 10,120.00 USDT"
    assert line(message, "best strategy") == "best strategy alpha grid +3.1 %, worst strategy alpha trend -1.2 %"
    assert line(message, "alpha: worst trade") == "alpha: worst trade -180.00 USDT (BTC), Mon 22:00"


@pytest.mark.parametrize("shares", [("4000,6000", "4000,"), (",6000", "4000,6000")], ids=["ends", "begins"])
def test_an_account_of_which_a_part_is_not_seen_has_lost_nothing_by_that(
    example: SummaryExample, shares: tuple[str, str]
) -> None:
    names = [f'"equity{{exchange=""{name}"",source=""alpha"",target=""alpha""}}"' for name in ("kraken", "binance")]
    times = range(NOW // 1_000 - 86_400, NOW // 1_000 + 1, 30)
    rows = [f"{t},{shares[0] if t * 1_000 < NOW - 12 * HOUR else shares[1]}\n" for t in times]
    example.samples.write_text(f"time,{','.join(names)}\n{''.join(rows)}")

    told = line(example.messages()[-1], "alpha: P&L")

    assert told.startswith("alpha: P&L 0.00 USDT (0 %), equity 10,000.00")


def test_what_was_lost_while_nobody_watched_is_no_trade(example: SummaryExample) -> None:
    example.tell_samples(without=(NOW - 10 * HOUR - 5 * MINUTE, NOW - 10 * HOUR + 1))

    message = example.messages()[-1]

    assert line(message, "alpha: worst trade").startswith("alpha: worst trade -0.01 USDT (BTC)")


def test_without_such_metrics_nothing_is_said_of_money(example: SummaryExample) -> None:
    example.samples.write_text(
        'time,"up{source=""alpha""}"\n' + "".join(f"{t},1\n" for t in range(NOW // 1_000 - 600, NOW // 1_000))
    )

    message = example.messages()[-1]

    for word in ("P&L", "strategy", "trade"):
        assert not has(message, word)


def test_uptime_is_what_was_watched_and_which_reads_went_well(example: SummaryExample) -> None:
    example.tell_samples()
    assert (
        line(example.messages()[-1], "watched")
        == "watched 100 % of the time; reads that went well: beta 99.3 %, all others 100 %"
    )

    example.tell_samples(without=(NOW - 12 * HOUR, NOW - 6 * HOUR))
    assert line(example.messages()[-1], "watched 7").startswith("watched 74.9")


def test_a_noisy_rule_comes_with_a_limit_that_replay_has_tried(example: SummaryExample) -> None:
    example.tell_night()
    example.tell_samples()

    told = line(example.messages()[-1], "noisy: ")

    assert told == (
        "noisy: beta queue (warn), 5 trips in 7 d, 5 for nothing; replay: above 22.5 instead of 20 would not have tripped"
    )


def test_a_limit_that_would_miss_what_mattered_is_not_recommended(tmp_path: Path) -> None:
    example = SummaryExample(tmp_path, rules=RULES.replace("warn: {above: 20}", "crit: {above: 20}"))
    for n in range(4):
        example.trip_for_nothing("queue", "beta", "crit", NOW - (n + 2) * 2 * HOUR)
    example.trip_for_nothing("queue", "beta", "crit", NOW - 12 * HOUR)
    with example.journal.transaction() as tx:
        tx.incidents.acknowledge(5, "ann", NOW - 12 * HOUR + 1)  # it was as high as the others
    example.tell_samples()

    told = line(example.messages()[-1], "noisy: ")

    assert told.endswith("5 trips in 7 d, 4 for nothing; replay: no limit near it is better")


def test_of_limits_none_of_which_is_good_enough_the_best_one_is_told(
    example: SummaryExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Farther away there may be more trips: a long one falls apart."""
    counts = iter([5, 4, 2, 3, 4])

    def trips(*_: object) -> list[ReplayTrip]:
        began = [NOW - n * HOUR for n in range(1, 1 + next(counts))]
        return [ReplayTrip("queue", "warn", "beta", (), t, t + MINUTE, "", None, 0) for t in began]

    example.tell_night()
    example.tell_samples()
    monkeypatch.setattr(noise, "_trips", trips)

    told = line(example.messages()[-1], "noisy: ")

    assert told.endswith("replay: above 22.5 instead of 20 would trip 2 times, 2 for nothing")


def test_what_there_is_no_time_for_is_said_to_be_left_out(example: SummaryExample) -> None:
    example.tell_night()
    example.tell_samples()

    message = example.messages(late=True)[-1]

    assert line(message, "noisy: ").endswith("a better limit was not looked for: there was not enough time")
    assert line(message, "not looked at: ") == "not looked at: 3 KPIs: there was not enough time"


def test_each_summary_says_what_the_one_before_said_and_more(example: SummaryExample) -> None:
    example.tell_night()
    example.tell_samples()

    first, *_, last = example.messages()

    assert has(first, "KPIs, account and uptime were not looked at")
    assert has(first, "a better limit was not looked for")
    assert not has(last, "not looked")


def test_only_incidents_since_the_last_summary_are_told(example: SummaryExample) -> None:
    example.tell_night()

    message = example.messages(since=NOW - HOUR)[-1]

    assert not any(each.startswith("#1 ") for each in message.lines)
    assert message.title.endswith("no incident")
    assert message.lines[-1] == "since Tue 07:00, 1 h"


def test_an_open_incident_from_before_the_period_is_told(example: SummaryExample) -> None:
    with example.journal.transaction() as tx:
        tx.incidents.open_incident("alpha", "crit", "drawdown", NOW - 40 * DAY)

    message = example.messages()[-1]

    assert line(message, "#1 ") == "#1 22 Oct 09:00 alpha: drawdown — open for 40 d; no plan ran"


def test_what_others_wrote_stays_within_its_line(example: SummaryExample) -> None:
    with example.journal.transaction() as tx:
        number = tx.incidents.open_incident("alpha", "crit", "drawdown\n#2 forged " + "x" * 5_000, NOW - HOUR)
        tx.incidents.acknowledge(number, "ann\u202e", NOW)

    message = example.messages()[-1]

    assert all("\n" not in each and "\u202e" not in each and len(each) <= 800 for each in message.lines)


@pytest.mark.parametrize(
    ("operator", "limit", "baseline", "expected"),
    [
        ("above", 0.15, 0.05, [0.16, 0.175, 0.2, 0.25]),
        ("below", 900.0, 1_000.0, [890.0, 875.0, 850.0, 800.0]),
        ("above", 20.0, None, [22.0, 25.0, 30.0, 40.0]),
        ("above", 0.0, None, []),
    ],
)
def test_limits_are_tried_ever_farther_from_the_baseline(
    example: SummaryExample, operator: str, limit: float, baseline: float | None, expected: list[float]
) -> None:
    check = dataclasses.replace(
        *example.config.checks[:1], operator=operator, limit=limit, clear=limit - 0.01, baseline=baseline
    )

    assert candidate_limits(check) == expected
    for each in expected:
        moved = with_limit(check, each)
        assert moved.limit == each
        assert moved.clear == pytest.approx(each - 0.01)


def test_targets_that_are_well_are_not_listed_among_many(tmp_path: Path) -> None:
    names = [f"bot{n}" for n in range(12)]
    rules = f"targets: {{{', '.join(f'{name}: {{}}' for name in names)}}}\n"
    main = 'sources: {page: {type: scrape, url: "http://127.0.0.1:9/metrics"}}\nstate: state\n'
    example = SummaryExample(tmp_path, main, rules)
    with example.journal.transaction() as tx:
        tx.targets.update_target("bot3", latched=NOW - HOUR, latch_why="look")

    message = example.messages()[-1]

    assert message.title == "Daily summary: 1 of 12 targets is not well, no incident"
    assert message.lines[:2] == ("bot3: latched for 1 h, until somebody says resume (look)", "the other 11 are well")
