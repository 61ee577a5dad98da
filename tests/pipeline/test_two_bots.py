"""Two bots under one watchdog: each sees what is its own and what is nobody's, and nothing of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipeline_harness import SECOND, START
from tests.support.property_settings import examples
from watchdog import config
from watchdog.core.model import Sample
from watchdog.core.telemetry import Telemetry
from watchdog.documents.problems import ConfigError
from watchdog.journal.baselines import Baseline
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.pipeline import Pipeline
from watchdog.promql import SelectedMetric

SCRAPE = "  {name}: {{type: scrape, url: 'http://127.0.0.1:1/{name}', every: {every}}}\n"
RULES = """\
kpis:
  drawdown: {expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}
  errors: {expr: "increase(errors_total[5s])", needs: "increase(bars_total[5s]) > 0"}
  load: {expr: host_load1}
rules:
  - {name: drawdown, kpi: drawdown, target: all, crit: {at_least: 10%, clear: 8%, plan: halt}}
  - {name: errors, kpi: errors, target: all, warn: {above: 3, for: 2s}, crit: {above: 20, plan: halt}}
  - {name: load, kpi: load, target: all, warn: {above: 5}}
plans:
  halt:
    kind: halt
    levels:
      - {name: stop, steps: [{do: flag, file: config.py, set: {T: false}}], verify: {that: [equity > 0]}}
"""


class Bots:
    """A pipeline and its bots; each has a source of its name, and all share the host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, START
        self.values: dict[str, dict[str, float]] = {}
        self.silent: set[str] = set()
        self.host_load = 0.1
        self.pipeline: Pipeline | None = None

    def configure(self, targets: dict[str, str], rules: str = RULES, every: str = "1s") -> None:
        """`targets`: name → what its entry says; a source of each bot in `values` is read."""
        (self.folder / "rules").mkdir(parents=True, exist_ok=True)
        sources = "".join(SCRAPE.format(name=name, every=every) for name in [*self.values, "host"])
        (self.folder / "watchdog.yaml").write_text(f"sources:\n{sources}state: state\n")
        listed = "".join(f"  {name}: {{repo: /srv/{name}, {entry}}}\n" for name, entry in targets.items())
        (self.folder / "rules" / "rules.yaml").write_text(f"targets:\n{listed}{rules}")
        self.config = config.load(self.folder, environ={})
        if self.pipeline is None:
            self.open()
        else:
            self.pipeline.apply_config(self.config, self.now)

    def rename(self, before: str, after: str) -> None:
        """Another name for a bot that stays where it is."""
        assert self.pipeline is not None
        file = self.folder / "rules" / "rules.yaml"
        file.write_text(file.read_text().replace(f"  {before}: {{repo", f"  {after}: {{repo"))
        self.config = config.load(self.folder, environ={})
        self.pipeline.apply_config(self.config, self.now)

    def open(self) -> None:
        self.journal = SqliteJournal(self.folder / "journal.db", durable=False)
        self.pipeline = Pipeline(self.config, self.journal, Telemetry("test"), self.now)

    def restart(self) -> None:
        self.journal.close()
        self.open()

    def round(self, seconds: int = 1) -> None:
        assert self.pipeline is not None
        for _ in range(seconds):
            self.now += SECOND
            for name in self.config.sources:
                if name in self.silent:
                    self.pipeline.mark_source_down(name, self.now)
                    continue
                read = {"host_load1": self.host_load} if name == "host" else self.values[name]
                self.pipeline.add_samples(name, [Sample(key, (), self.now, v) for key, v in read.items()], self.now)
                self.pipeline.judge(self.now, name)
            self.pipeline.judge(self.now)

    def firing(self) -> set[tuple[str, str]]:
        assert self.pipeline is not None
        return {(key.rule, key.target) for key, machine in self.pipeline.machines.items() if machine.is_firing}

    def outcome(self, rule: str, target: str) -> set[str]:
        assert self.pipeline is not None
        return {
            machine.outcome
            for key, machine in self.pipeline.machines.items()
            if (key.rule, key.target) == (rule, target)
        }

    def runs(self) -> list[tuple[str, str]]:
        return [(row["target"], row["plan"]) for row in self.journal.query("SELECT target, plan FROM run ORDER BY id")]


def healthy(bars: float = 0.0) -> dict[str, float]:
    return {"equity": 1_000.0, "errors_total": 0.0, "bars_total": bars}


OWN = {"alpha": "sources: [alpha]", "beta": "sources: [beta]"}


@pytest.fixture
def make_bots(tmp_path: Path) -> Iterator[Callable[..., Bots]]:
    made: list[Bots] = []

    def make(*names: str, targets: dict[str, str] | None = None) -> Bots:
        bots = Bots(tmp_path / str(len(made)))
        bots.values = {name: healthy() for name in names or ("alpha", "beta")}
        bots.configure(targets or {name: f"sources: [{name}]" for name in bots.values})
        bots.round(3)
        made.append(bots)
        return bots

    yield make
    for bots in made:
        bots.journal.close()


def test_the_second_bots_loss_halts_the_second_bot_and_not_the_first(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()

    bots.values["beta"]["equity"] = 850.0
    bots.round()

    assert bots.firing() == {("drawdown", "beta")}
    assert bots.runs() == [("beta", "halt")]
    assert bots.outcome("drawdown", "alpha") == {"ok"}


def test_both_bad_in_one_second_have_an_incident_and_a_halt_each(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()

    for name in bots.values:
        bots.values[name]["equity"] = 850.0
    bots.round()

    assert bots.firing() == {("drawdown", "alpha"), ("drawdown", "beta")}
    assert sorted(bots.runs()) == [("alpha", "halt"), ("beta", "halt")]
    assert sorted(bots.journal.incidents.list_targets_with_open_incident()) == ["alpha", "beta"]


def test_a_bot_that_is_down_blinds_its_own_rules_only(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()

    bots.silent.add("beta")
    bots.round(20)

    assert bots.outcome("drawdown", "beta") == {"nodata"}
    assert bots.outcome("drawdown", "alpha") == {"ok"}
    bots.values["alpha"]["equity"] = 843.0
    bots.round(2)
    assert bots.firing() == {("drawdown", "alpha")}


def test_bots_that_come_up_one_after_the_other_are_told_of_in_one_message_what_they_lack(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"alpha": {"bars_total": 0.0}, "beta": {"bars_total": 0.0}}
    bots.configure(OWN)
    bots.silent.add("beta")
    bots.round(30)
    bots.silent.clear()
    bots.round(90)

    told = [row for row in bots.journal.query("SELECT title, lines FROM message") if "aside" in row["title"]]

    bots.journal.close()
    assert [row["title"] for row in told] == [
        "2 rules stand aside at alpha, beta, for metrics that never came: drawdown, errors"
    ]
    assert "drawdown (alpha, beta): equity" in told[0]["lines"]


def test_what_is_nobodys_is_seen_by_all(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()

    bots.host_load = 9.0
    bots.round()

    assert bots.firing() == {("load", "alpha"), ("load", "beta")}


def test_a_bot_that_is_taken_away_by_a_reload_leaves_the_other_its_rules(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    bots.round(30)

    del bots.values["beta"]
    bots.configure({"alpha": OWN["alpha"]})
    bots.values["alpha"]["equity"] = 843.0
    bots.round(2)

    assert bots.firing() == {("drawdown", "alpha")}
    assert ("alpha", "halt") in bots.runs()


FRESHNESS = """\
kpis:
  age: {expr: "time() - last_tick"}
rules:
  - {name: no-ticks, kpi: age, target: all, crit: {above: 60, plan: halt}, if_missing: {after: 1m, then: crit}}
plans:
  halt:
    kind: halt
    levels:
      - {name: stop, steps: [{do: flag, file: config.py, set: {T: false}}], verify: {that: [equity > 0]}}
"""


def test_a_bot_whose_target_goes_first_and_then_its_source_halts_nobody(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    for values in bots.values.values():
        values["last_tick"] = START / SECOND
    bots.configure(OWN, FRESHNESS)
    bots.round(3)

    bots.configure({"alpha": OWN["alpha"]}, FRESHNESS)  # until its source is gone, too, it is seen by all
    bots.round(3)
    del bots.values["beta"]
    bots.configure({"alpha": OWN["alpha"]}, FRESHNESS)
    bots.values["alpha"]["last_tick"] = START / SECOND + 3_600
    bots.round(90)

    assert bots.firing() == set()
    assert bots.runs() == []
    assert bots.pipeline is not None
    assert {dict(key.labels)["source"] for key in bots.pipeline.machines} == {"alpha"}


def test_what_fires_for_a_source_that_is_taken_away_ends_and_people_are_told(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    bots.configure({"alpha": OWN["alpha"]})
    bots.round(3)
    bots.values["beta"]["equity"] = 1.0
    bots.round(2)
    assert bots.firing() == {("drawdown", "alpha")}

    del bots.values["beta"]
    bots.configure({"alpha": OWN["alpha"]})
    bots.round(15)

    assert bots.firing() == set()
    told = [row["title"] + row["lines"] for row in bots.journal.query("SELECT title, lines FROM message ORDER BY id")]
    assert "source=beta: no value for 1 s, it was firing" in told[-1]


def test_a_source_that_no_file_names_any_more_blinds_no_rule_of_one_bot_without_owners(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"alpha": healthy(), "beta": healthy()}
    bots.configure({"alpha": "cooldown: 1m"})
    bots.round(30)

    del bots.values["beta"]
    bots.configure({"alpha": "cooldown: 1m"})
    bots.round(30)
    assert bots.pipeline is not None
    assert bots.pipeline.find_stale_rule("alpha", bots.now) is None
    bots.values["alpha"]["equity"] = 843.0
    bots.round(2)

    assert bots.firing() == {("drawdown", "alpha")}
    bots.journal.close()


def test_of_two_sources_of_one_bot_the_one_that_is_down_blinds_its_own_label_set_only(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"left": healthy(), "right": healthy()}
    bots.configure({"alpha": "cooldown: 1m"})
    bots.round(30)

    bots.silent.add("right")
    bots.round(30)
    bots.values["left"]["equity"] = 843.0
    bots.round(2)

    assert bots.firing() == {("drawdown", "alpha")}
    bots.values["left"]["equity"] = 1_000.0
    bots.round(2)
    assert bots.firing() == set()
    bots.journal.close()


def test_what_was_made_of_a_living_and_a_dead_source_is_not_believed(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"left": healthy(), "right": healthy()}
    rules = "kpis:\n  sum: {expr: 'sum(increase(errors_total[1m]))', needs: 'vector(1)'}\nrules:\n"
    rules += "  - {name: sum, kpi: sum, target: alpha, warn: {above: 3}}\n"
    bots.configure({"alpha": "cooldown: 1m"}, rules)
    bots.round(70)

    bots.silent.add("right")
    bots.round(10)

    assert bots.outcome("sum", "alpha") == {"nodata"}
    bots.journal.close()


def test_a_bot_that_is_added_by_a_reload_costs_the_first_one_neither_peak_nor_state(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"alpha": healthy()}
    bots.configure({"alpha": "cooldown: 1m"})
    bots.round(3)
    bots.values["alpha"]["equity"] = 850.0
    bots.round()
    assert bots.firing() == {("drawdown", "alpha")}

    bots.values["beta"] = healthy()
    bots.configure(OWN)
    bots.round(5)

    assert bots.firing() == {("drawdown", "alpha")}, "its peak went with it, and so did its incident"
    assert bots.runs() == [("alpha", "halt")]
    bots.journal.close()


def test_a_bot_that_gets_another_name_keeps_its_peak_and_its_latch(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    with bots.journal.transaction() as tx:
        tx.targets.update_target("beta", latched=bots.now, latch_why="halt halt")
    epoch = bots.journal.targets.get_state("beta", bots.now).epoch
    bots.rename("beta", "gamma")

    state = bots.journal.targets.get_state("gamma", bots.now)
    assert (state.latch_why, state.epoch) == ("halt halt", epoch)
    assert bots.journal.targets.find_latch_reason("beta") is None


def test_a_renamed_bot_with_its_sources_is_measured_from_its_old_peak(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"alpha": healthy(), "beta": healthy()}
    bots.configure(OWN)
    bots.round(3)

    bots.rename("beta", "gamma")
    bots.values["beta"]["equity"] = 850.0
    bots.round()

    assert bots.firing() == {("drawdown", "gamma")}
    bots.journal.close()


def test_a_bot_is_renamed_also_when_somebody_has_asked_for_its_new_name_before(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    epoch = bots.journal.targets.get_state("beta", bots.now).epoch
    bots.round()
    assert bots.journal.targets.get_state("gamma", bots.now).epoch > epoch  # a command that has read the edited file

    bots.rename("beta", "gamma")

    assert bots.journal.targets.get_state("gamma", bots.now).epoch == epoch


def test_a_bot_that_gets_its_old_name_back_takes_along_what_is_known_of_it(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    digest = Baseline("loss", "captured", "digest", 1.0, bots.now, 40, 60_000, "anna", None, "beta")
    with bots.journal.transaction() as tx:
        tx.baselines.save_baseline(digest)

    bots.rename("beta", "gamma")
    bots.round(2)
    assert [each.target for each in bots.journal.baselines.list_baselines()] == ["gamma"]
    bots.rename("gamma", "beta")
    bots.round(2)

    assert bots.journal.baselines.list_baselines() == [digest]


def test_after_a_restart_each_bot_is_measured_from_its_own_peak(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    bots.values["beta"]["equity"] = 2_000.0
    bots.round(2)

    bots.restart()
    bots.round(2)
    assert bots.firing() == set()
    bots.values["beta"]["equity"] = 1_700.0
    bots.round()

    assert bots.firing() == {("drawdown", "beta")}


def test_a_slow_bot_does_not_make_the_old_samples_of_a_fast_one_believed(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"alpha": healthy(), "beta": healthy()}
    bots.configure(OWN)
    main = bots.folder / "watchdog.yaml"
    main.write_text(main.read_text().replace("127.0.0.1:1/beta', every: 1s", "127.0.0.1:1/beta', every: 5m"))
    bots.config = config.load(bots.folder, environ={})
    assert bots.pipeline is not None
    bots.pipeline.apply_config(bots.config, bots.now)
    bots.round(3)

    bots.silent.add("alpha")
    bots.round(6)

    assert bots.outcome("drawdown", "alpha") == {"nodata"}
    bots.journal.close()


def test_a_silence_of_one_bots_rule_leaves_the_other_bots_told(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    assert bots.pipeline is not None
    check = {check.target: check for check in bots.config.checks if (check.rule, check.level) == ("drawdown", "crit")}
    with bots.journal.transaction() as tx:
        tx.suppressions.add_suppression("silence", "drawdown@beta", bots.now + 60_000, "ann", bots.now)

    assert bots.pipeline.incident_manager.is_silenced(check["beta"], bots.now)
    assert not bots.pipeline.incident_manager.is_silenced(check["alpha"], bots.now)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["equity", "errors_total", "bars_total", "down", "up", "load"]),
        st.sampled_from(["alpha", "beta"]),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=examples(40), deadline=None)
@given(STEPS)
def test_with_and_without_a_second_bot_the_first_has_the_same_trips(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    def history(names: list[str], targets: dict[str, str]) -> list[object]:
        bots = Bots(tmp_path_factory.mktemp("bots"))
        bots.values = {name: healthy() for name in names}
        bots.configure(targets)
        bots.round(2)
        seen: list[object] = []
        for what, whose, amount in steps:
            if what == "load":
                bots.host_load = amount / 4
            elif whose in bots.values:
                if what == "down":
                    bots.silent.add(whose)
                elif what == "up":
                    bots.silent.discard(whose)
                elif what == "equity":
                    bots.values[whose]["equity"] = 800.0 + 10 * amount
                else:
                    bots.values[whose][what] += amount
            bots.round(1 + amount % 4)
            assert bots.pipeline is not None
            seen.append(
                sorted(
                    (key.rule, key.level, key.labels, machine.phase, machine.outcome, machine.value, machine.reason)
                    for key, machine in bots.pipeline.machines.items()
                    if key.target == "alpha"
                )
            )
        seen.append([run for run in bots.runs() if run[0] == "alpha"])
        bots.journal.close()
        return seen

    alone = history(["alpha"], {"alpha": "cooldown: 15m"})
    beside_another = history(["alpha", "beta"], OWN)

    assert beside_another == alone


@pytest.mark.parametrize("left_with", ["one owner", "two owners", "nobody's"])
def test_the_loss_of_a_bot_that_is_taken_away_is_nobody_elses(make_bots: Callable[..., Bots], left_with: str) -> None:
    bots = make_bots("alpha", "beta", "gamma")
    bots.values["beta"]["equity"] = 850.0
    bots.round()
    assert bots.firing() == {("drawdown", "beta")}

    del bots.values["beta"]
    if left_with != "two owners":
        del bots.values["gamma"]
    bots.configure({name: "cooldown: 1m" if left_with == "nobody's" else f"sources: [{name}]" for name in bots.values})
    assert bots.pipeline is not None
    bots.pipeline.judge(bots.now)
    for _ in range(10):
        bots.round()
        assert bots.firing() == set()
        assert {key.labels for key in bots.pipeline.machines if key.rule == "drawdown"} == {
            (("source", name),) for name in bots.values
        }
    assert bots.runs() == [("beta", "halt")]


def test_what_grows_too_large_when_it_is_asked_for_a_target_is_refused(make_bots: Callable[..., Bots]) -> None:
    bots = make_bots()
    many = " + ".join(f"(a{i} + b{i})" for i in range(40))

    with pytest.raises(ConfigError, match="in each of its selectors, the expression has 80 regular expressions"):
        bots.configure(OWN, RULES.replace("host_load1}", f'"{many}"}}'))


def test_people_hear_of_a_plan_as_it_is_for_the_bot_that_it_starts_on(tmp_path: Path) -> None:
    bots = Bots(tmp_path)
    bots.values = {"alpha": healthy(), "beta": healthy()}
    varying = RULES.replace("file: config.py, set: {T: false}", "file: '${file}', set: {T: false}")
    bots.configure(
        {
            "alpha": "sources: [alpha], vars: {file: alpha.py}",
            "beta": "sources: [beta], vars: {file: beta.py}",
        },
        varying,
    )
    bots.round(5)

    bots.values["beta"]["equity"] = 500.0
    bots.round()

    said = " ".join(str(row["lines"]) for row in bots.journal.query("SELECT lines FROM message"))
    assert "beta.py" in said
    assert "alpha.py" not in said


def test_what_is_judged_together_trips_as_one_by_one_and_in_the_order_of_the_rules(tmp_path: Path) -> None:
    found = []
    for together in (False, True):
        bots = Bots(tmp_path / str(together))
        bots.values = {"a": healthy(), "b": healthy(), "c": healthy()}
        bots.configure({name: f"sources: [{name}]" for name in "abc"})
        bots.round(5)
        assert bots.pipeline is not None
        bots.now += SECOND
        for name in "cba":
            equity = Sample("equity", (), bots.now, 100.0 if name != "b" else 1_000.0)
            bots.pipeline.add_samples(name, [equity], bots.now)
            if not together:
                bots.pipeline.judge(bots.now, name)
        if together:
            bots.pipeline.judge(bots.now, "c", "b", "a")
        found.append((bots.firing(), sorted(bots.runs())))
        if together:
            assert bots.runs() == [("a", "halt"), ("c", "halt")]

    assert found[0] == found[1]
    assert found[0][0] == {("drawdown", "a"), ("drawdown", "c")}


def test_which_of_many_sources_a_rule_reads_is_not_asked_again_with_each_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, asked = [f"bot{number}" for number in range(30)], 0
    may_be_read_of = SelectedMetric.may_be_read_of

    def count(self: SelectedMetric, having: Mapping[str, str]) -> bool:
        nonlocal asked
        asked += 1
        return may_be_read_of(self, having)

    monkeypatch.setattr(SelectedMetric, "may_be_read_of", count)
    bots = Bots(tmp_path)
    bots.values = {name: healthy() for name in names}
    bots.configure({name: f"sources: [{name}]" for name in names})
    bots.round()
    after_one = asked
    bots.round(4)

    assert 0 < after_one < 5 * len(names) ** 2  # once of each source for each way to say whose a metric is
    assert asked == after_one
