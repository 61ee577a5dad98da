"""The nights that plans are made for, one test each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.scenarios.harness import ScenarioHarness
from watchdog.actions.process import ProcessAction

MakeHarness = Callable[..., ScenarioHarness]


@pytest.mark.slow
def test_the_plain_night_ends_at_level_two_and_closes_its_incident(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    assert harness.outcomes() == [("ladder", "proven")]
    assert harness.rollback_commits() == ['Revert "Merge v2"']
    assert harness.config_values() == {"TRADING": "True", "FEATURE": "True", "MODEL": "1"}
    assert not harness.is_latched()


def test_an_exchange_outage_while_drawdown_grows_reverts_nothing_and_halts(make_harness: MakeHarness) -> None:
    """No ticks, errors from every order, and a position that nobody can close: code is not what is wrong."""
    harness = make_harness()
    harness.bad_since_model = 3
    harness.advance_seconds(10)
    harness.advance_seconds(40, tick_age=60)  # the exchange is silent
    harness.advance_seconds(10, error_ratio=0.9)
    assert harness.outcomes() == []
    assert any("blind" in why for why in harness.refusal_reasons())

    for equity in range(990, 870, -10):
        harness.advance_seconds(2, error_ratio=0.9, equity=equity)
    harness.advance_until(lambda: ("halt", "proven") in harness.outcomes())

    assert harness.outcomes() == [("halt", "proven")]
    assert harness.config_values()["TRADING"] == "False"
    assert harness.rollback_commits() == []
    assert harness.is_latched()


def test_of_two_repairs_that_are_wanted_in_one_second_one_is_at_work_at_a_time_and_nothing_is_done_twice(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(
        rules="  - {name: slow, kpi: errors, crit: {above: 20%, for: 2s, plan: second}}",
        plans="""\
  second:
    kind: repair
    mode: auto
    exhausted: halt
    verify: {quiet: 3s, give_up: 20s, watch: 5s}
    levels:
      - {name: version, steps: [{do: git, revert: v2-merge}]}
""",
    )
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    assert harness.max_concurrent_runs == 1
    assert harness.rollback_commits() == ['Revert "Merge v2"']
    assert dict(harness.outcomes())["ladder"] == "proven"
    assert ("second", "proven") not in harness.outcomes()
    assert len(harness.list_incidents()) == 1


def test_of_a_repair_and_a_halt_in_one_second_the_halt_goes_first_and_the_repair_touches_nothing(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(rules="  - {name: worse, kpi: errors, crit: {above: 20%, for: 2s, plan: halt}}")
    harness.advance_until(lambda: ("halt", "proven") in harness.outcomes())
    harness.advance_seconds(60)

    assert harness.max_concurrent_runs == 1
    assert harness.rollback_commits() == []
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}
    assert [harness.steps(run) for run in harness.runs if run.plan == "ladder"] in ([], [[]])


def test_while_a_person_deploys_repairs_wait_and_halts_do_not(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.bad_since_model = 4
    harness.advance_seconds(20)
    harness.repo.commit("v3", config__py=harness.repo.read("config.py").replace("MODEL = 2", "MODEL = 3"))
    harness.advance_seconds(5)  # then it is restarted, and errs
    harness.bad_since_model = 3
    harness.advance_seconds(30)

    assert harness.outcomes() == []
    assert any("settling" in why for why in harness.refusal_reasons())
    harness.advance_seconds(5, equity=850)
    assert harness.outcomes() == [("halt", "proven")]
    assert harness.rollback_commits() == []


@pytest.mark.slow
def test_a_repository_in_which_git_is_at_work_is_left_alone(make_harness: MakeHarness) -> None:
    """A deploy in its very middle: the index is locked, and stays theirs."""
    harness = make_harness()
    lock = harness.repo.path / ".git" / "index.lock"
    lock.write_bytes(b"somebody's")
    harness.advance_until(lambda: all(run.outcome for run in harness.runs) and len(harness.runs) == 2)

    assert harness.outcomes() == [("ladder", "exhausted"), ("halt", "proven")]
    assert lock.read_bytes() == b"somebody's"
    assert harness.repo.head() == harness.repo.git("rev-parse", "v2-merge").strip()
    assert "index.lock" in harness.runs[0].reason


@pytest.mark.slow
def test_a_level_after_which_the_bot_does_not_start_is_followed_at_once_by_the_next(make_harness: MakeHarness) -> None:
    """The feature's flag is off, and the bot cannot live without the feature."""
    script = "grep -q 'FEATURE = True' config.py || exit 7; exec sleep 987654"
    harness = make_harness(
        target=f', process: {{pid_file: bot.pid, command: [sh, -c, "{script}"]}}',
        levels="""\
      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}},
                                {do: process, restart: process, alive_for: 30s, grace: 1s}], verify: {settle: 15s}}
      - {name: version, steps: [{do: git, revert: v2-merge}, {do: process, restart: process, alive_for: 100ms, grace: 1s}]}
      - {name: stop, steps: [{do: process, stop: process, grace: 1s}]}
""",
    )
    (harness.repo.path / ".git" / "info" / "exclude").write_text("bot.pid\n")
    try:
        harness.advance_until(lambda: any(run.level == 1 for run in harness.runs))
        began = harness.now
        harness.advance_until(lambda: harness.runs[0].outcome)
        assert harness.outcomes() == [("ladder", "proven")]
        (run,) = harness.runs
        assert ("level", 0, "restart the process", "failed") in harness.steps(run)
        assert ("level", 1, "restart the process", "done") in harness.steps(run)
        assert run.acted - began < 15_000
    finally:
        stop = ProcessAction(do="process", stop="process", grace=1_000).bind(harness.config.targets["bot"])
        stop.apply(stop.capture(), "end")


def test_a_revert_that_conflicts_touches_nothing_and_the_ladder_goes_on(make_harness: MakeHarness) -> None:
    harness = make_harness(
        levels="""\
      - {name: version, steps: [{do: git, revert: v2-merge}]}
      - {name: before-v2, steps: [{do: git, to: v1}]}
"""
    )
    harness.repo.commit("on top", config__py=harness.repo.read("config.py").replace("MODEL = 2", "MODEL = 4"))
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()), 200)

    assert harness.outcomes() == [("ladder", "proven")]
    (run,) = harness.runs
    failed = next(step for step in harness.steps(run) if step[1] == 0 and step[0] == "level")
    assert failed[2:] == ("git revert v2-merge", "failed")
    assert harness.rollback_commits() == ["Bring back v1"]
    assert harness.repo.status() == ""
    assert harness.config_values() == {"TRADING": "True", "FEATURE": "True", "MODEL": "1"}


def test_what_a_person_has_reverted_already_is_not_reverted_again(make_harness: MakeHarness) -> None:
    harness = make_harness(levels="      - {name: version, steps: [{do: git, revert: v2-merge}]}\n")
    harness.bad_since_model = 1  # something else is wrong
    harness.repo.git("revert", "--no-edit", "-m", "1", "v2-merge")
    head = harness.repo.head()
    harness.advance_seconds(70)  # that was a deployment
    harness.advance_until(lambda: ("halt", "proven") in harness.outcomes())

    assert harness.outcomes() == [("ladder", "exhausted"), ("halt", "proven")]
    assert harness.repo.head() == head
    assert "so already" in harness.runs[0].reason


@pytest.mark.slow
@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_source_that_flaps_starts_nothing_and_tells_little(make_harness: MakeHarness, every: int) -> None:
    harness = make_harness()
    harness.bad_since_model = 3
    harness.advance_seconds(10)
    for second in range(120):
        harness.lost_sources = {"bot"} if second % every == 0 else set()
        harness.advance_second()

    assert harness.outcomes() == []
    assert harness.config_values()["TRADING"] == "True"
    assert len(harness.message_titles()) <= 2, harness.message_titles()


@pytest.mark.slow
def test_errors_behind_a_flapping_source_are_still_found_and_repaired_once(make_harness: MakeHarness) -> None:
    harness = make_harness()
    seconds = iter(range(10_000))

    def flap() -> None:
        harness.lost_sources = {"bot"} if next(seconds) % 4 == 0 else set()

    harness.on_each_second = flap
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()), 300)

    assert harness.outcomes()[0][0] == "ladder"
    assert harness.rollback_commits() == ['Revert "Merge v2"']
    assert len(harness.list_incidents()) == 1


def test_one_pair_of_forty_makes_one_incident_that_names_it(make_harness: MakeHarness) -> None:
    harness = make_harness(
        kpis='  pair: {expr: "sum by (pair) (loss_ratio)", unit: ratio}',
        rules="""\
  - {name: pair-loses, kpi: pair, crit: {above: 5%, for: 2s, plan: pair-off}}
""",
        plans="""\
  pair-off:
    kind: repair
    mode: auto
    exhausted: leave-running
    verify: {quiet: 3s, give_up: 20s, watch: 5s}
    levels:
      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}
""",
    )
    harness.bad_since_model = 3

    def pairs() -> None:
        loses = 0.2 if harness.config_values()["FEATURE"] == "True" else 0.01
        harness.labelled_series = [
            ("loss_ratio", (("pair", f"COIN{number}/USDT"),), loses if number == 17 else 0.01) for number in range(40)
        ]

    harness.on_each_second = pairs
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    assert harness.outcomes() == [("pair-off", "proven")]
    assert len(harness.list_incidents()) == 1
    trips = [title for title in harness.message_titles() if "tripped" in title]
    assert trips == ["bot: pair-loses tripped"]
    (line,) = [
        row["lines"]
        for row in harness.journal.query("SELECT lines FROM message WHERE title LIKE '%tripped' AND channel = 'chat'")
    ]
    assert "COIN17/USDT" in line
    assert "COIN16/USDT" not in line


def test_a_weekend_is_slept_through_and_monday_is_not(make_harness: MakeHarness) -> None:
    """Spreads of a closed market: bad from Friday night on, and of no interest before Monday morning."""
    friday = int(datetime(2024, 3, 15, 22, 59, 0, tzinfo=UTC).timestamp() * 1_000)
    harness = make_harness(
        now=friday,
        kpis="  spread: {expr: spread_ratio, unit: ratio}",
        rules="""\
  - {name: spread, kpi: spread, crit: {above: 1%, for: 2s, plan: halt},
     only: {days: [mon-fri], between: "07:00-23:00", timezone: UTC}}
""",
    )
    harness.bad_since_model = 3
    harness.advance_seconds(50, spread_ratio=0.001)
    harness.advance_seconds(60, spread_ratio=0.001)  # the market has closed
    harness.advance_seconds(30, spread_ratio=0.05)
    assert harness.outcomes() == []
    assert not harness.is_firing("spread")

    friday = harness.now
    harness.now = int(datetime(2024, 3, 18, 6, 59, 30, tzinfo=UTC).timestamp() * 1_000)  # Monday
    harness.pipeline.handle_standstill(friday, harness.now)
    harness.advance_seconds(29, spread_ratio=0.05)
    assert harness.outcomes() == []
    harness.advance_until(lambda: ("halt", "proven") in harness.outcomes(), 10)

    assert datetime.fromtimestamp(harness.now / 1_000, UTC).hour == 7


PLAIN_DRAWDOWN = '{expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}'
NET_DRAWDOWN = '{expr: "1 - (equity - transfers_net) / max_over_time((equity - transfers_net)[30s:1s])", unit: ratio}'


def test_a_withdrawal_is_no_drawdown_for_a_kpi_that_knows_of_transfers(make_harness: MakeHarness) -> None:
    harness = make_harness(replacement=(PLAIN_DRAWDOWN, NET_DRAWDOWN))
    harness.bad_since_model = 3
    harness.advance_seconds(40, equity=1_000, transfers_net=0)
    harness.advance_seconds(40, equity=600, transfers_net=-400)
    assert harness.outcomes() == []

    harness.advance_seconds(10, equity=450, transfers_net=-400)  # lost, this time
    assert harness.outcomes() == [("halt", "proven")]


def test_a_withdrawal_that_is_announced_halts_nothing_and_what_is_lost_afterwards_does(
    make_harness: MakeHarness,
) -> None:
    """As docs/operations.md says: hold --all, pay out, resume."""
    harness = make_harness()
    harness.bad_since_model = 3
    harness.advance_seconds(20)
    assert harness.requests.hold_target("bot", 900_000, "Ada: payout", harness.now, halts=True)[0]
    harness.advance_seconds(20, equity=600)
    assert harness.outcomes() == []
    granted, said = harness.requests.resume_target("bot", "Ada: paid out 400", harness.now)
    assert granted, said
    harness.advance_seconds(5)
    assert harness.requests.hold_target("bot", None, "Ada: paid out", harness.now)[0]
    harness.advance_seconds(30)
    assert harness.outcomes() == []
    assert not harness.is_latched()

    harness.advance_seconds(10, equity=530)
    assert harness.outcomes() == [("halt", "proven")]


def test_counters_that_begin_anew_are_no_trip(make_harness: MakeHarness) -> None:
    """A bot that restarts counts from nothing: neither its errors nor its silence are bad for that."""
    harness = make_harness(
        rules="""\
  - {name: many-errors, kpi: failed, crit: {above: 5, for: 1s, plan: ladder}}
  - {name: no-orders, kpi: orders, crit: {below: 1, for: 1s, plan: ladder}}
""",
        kpis="""\
  failed: {expr: "increase(failed_total[10s])", unit: count}
  orders: {expr: "increase(orders_total[10s])", unit: count}
""",
    )
    harness.bad_since_model = 3
    counts = {"failed_total": 5_000.0, "orders_total": 90_000.0}

    def count() -> None:
        counts["orders_total"] += 2
        counts["failed_total"] += (harness.now // 1_000) % 5 == 0
        harness.values |= counts

    harness.on_each_second = count
    harness.advance_seconds(30)
    for _ in range(3):
        counts.update(failed_total=0, orders_total=0)
        harness.advance_seconds(25)
    assert harness.outcomes() == []
    assert harness.message_titles() == []

    counts["failed_total"] += 20  # and a burst is found, also after that
    harness.advance_until(lambda: harness.runs, 10)
