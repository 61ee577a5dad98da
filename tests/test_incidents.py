"""The state machine of one threshold, and what counts as proof."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.incidents import Change, Finding, Key, Machine, Terms, Trial, advance, prove, wake
from watchdog.model import Millis, Outcome, Verdict

T0 = 1_700_000_000_000
KEY = Key("r", "crit", ())


class Patience(NamedTuple):
    hold: Millis = 0
    n: int = 0
    m: int = 0


What = Literal["bad", "between", "well", "nodata", "error"]
"""`between`: no longer bad, but not on the good side of `clear` either."""

OUTCOME: dict[What, Outcome] = {"bad": "bad", "between": "ok", "well": "ok", "nodata": "nodata", "error": "error"}


def says(what: What, evidence: Millis, *, key: Key = KEY) -> Verdict:
    seen = what not in ("nodata", "error")
    return Verdict(
        key.rule,
        "crit" if key.level == "crit" else "warn",
        key.labels,
        OUTCOME[what],
        f"it is {what}",
        1.0 if seen else None,
        2.0,
        what == "well",
        evidence if seen else 0,
    )


@dataclass
class Watch:
    """A machine under watch: every `look` says what came out of it."""

    terms: Terms
    now: Millis = T0
    machine: Machine = field(default_factory=lambda: Machine(since=T0, last=T0))
    evidence: Millis = T0 - 1

    def look(self, what: What, after: Millis = 0, *, new: bool = True) -> list[Change]:
        """One look, `after` ms later; with `new=False` no sample has come since the last one."""
        self.now += after
        if new:
            self.evidence = self.now
        self.machine, changes = advance(self.machine, says(what, self.evidence), self.terms, self.now)
        return changes

    def kinds(self, what: What, after: Millis = 0, *, new: bool = True) -> list[str]:
        return [change.kind for change in self.look(what, after, new=new)]


def fired(terms: Terms) -> Watch:
    """A watch whose rule has just tripped."""
    watch = Watch(terms)
    for _ in range(1_000):
        if "tripped" in watch.kinds("bad", 1_000):
            return watch
    raise AssertionError("it never trips")


# ─ tripping ─


def test_without_patience_the_first_bad_look_trips() -> None:
    watch = Watch(Terms(Patience()))

    (change,) = watch.look("bad", 1_000)

    assert (change.key, change.kind, change.t, change.reason) == (KEY, "tripped", T0 + 1_000, "it is bad")
    assert change.machine == watch.machine
    assert watch.machine.fires


def test_it_never_fires_before_its_time() -> None:
    watch = Watch(Terms(Patience(hold=5_000)))

    told = [watch.kinds("bad", 1_000) for _ in range(6)]

    assert told == [[], [], [], [], [], ["tripped"]]


def test_a_single_good_look_starts_the_time_anew() -> None:
    watch = Watch(Terms(Patience(hold=3_000)))
    for what in ("bad", "bad", "bad"):
        assert watch.kinds(what, 1_000) == []

    assert watch.kinds("between", 1_000) == ["dropped"]
    assert [watch.kinds("bad", 1_000) for _ in range(4)] == [[], [], [], ["tripped"]]


def test_of_n_of_m_the_last_m_evaluations_count() -> None:
    watch = Watch(Terms(Patience(n=3, m=5)))
    looks: list[What] = ["bad", "well", "well", "bad", "well", "bad", "bad"]

    told = [watch.kinds(what, 1_000) for what in looks]

    assert told == [[], [], [], [], [], [], ["tripped"]]  # the first one has left the last five by then


def test_a_timer_tick_is_no_evaluation() -> None:
    watch = Watch(Terms(Patience(n=3, m=3)))
    watch.look("bad", 1_000)
    for _ in range(20):
        assert watch.kinds("bad", 1_000, new=False) == []

    assert [watch.kinds("bad", 1_000), watch.kinds("bad", 1_000)] == [[], ["tripped"]]


def test_older_evidence_is_no_evaluation_either() -> None:
    machine, terms = Machine(evidence=T0, last=T0), Terms(Patience(n=1, m=1))

    machine, changes = advance(machine, says("bad", T0 - 1), terms, T0 + 1_000)

    assert changes == []
    assert machine.evidence == T0


def test_a_trip_needs_a_bad_look_whatever_a_reload_did_to_its_terms() -> None:
    """Three of five become two of five, while two stand in the record and all is well."""
    watch = Watch(Terms(Patience(n=3, m=5)))
    for what in ("bad", "bad", "well"):
        watch.look(what, 1_000)
    watch.terms = Terms(Patience(n=2, m=5))

    assert watch.kinds("well", 0, new=False) == []
    assert watch.kinds("well", 1_000) == []
    assert watch.kinds("bad", 1_000) == ["tripped"]


def test_after_a_reload_only_the_new_m_evaluations_count() -> None:
    watch = Watch(Terms(Patience(n=4, m=5)))
    for what in ("bad", "well", "bad", "well", "bad"):
        watch.look(what, 1_000)
    watch.terms = Terms(Patience(n=3, m=3))

    assert watch.kinds("bad", 0, new=False) == []
    assert watch.machine.recent == (True, False, True)


def test_what_stood_before_a_trip_does_not_count_after_it() -> None:
    watch = fired(Terms(Patience(n=2, m=3)))
    watch.look("bad", 1_000)

    assert watch.kinds("well", 1_000) == ["cleared"]
    assert watch.kinds("bad", 1_000) == []
    assert watch.kinds("bad", 1_000) == ["tripped"]


# ─ missing data ─


@pytest.mark.parametrize("gap", ["nodata", "error"])
def test_missing_data_pauses_the_time_and_does_not_start_it_anew(gap: What) -> None:
    watch = Watch(Terms(Patience(hold=5_000)))
    for _ in range(4):
        watch.look("bad", 1_000)  # 3 s held
    for _ in range(60):
        assert watch.kinds(gap, 1_000) == []

    assert watch.machine.phase == "pending"
    assert [watch.kinds("bad", 1_000) for _ in range(3)] == [[], [], ["tripped"]]


@pytest.mark.parametrize("gap", ["nodata", "error"])
def test_missing_data_is_no_evaluation(gap: What) -> None:
    watch = Watch(Terms(Patience(n=2, m=3)))
    watch.look("bad", 1_000)
    for _ in range(10):
        assert watch.kinds(gap, 1_000) == []

    assert watch.kinds("well", 1_000) == []
    assert watch.kinds("bad", 1_000) == ["tripped"]


@pytest.mark.parametrize("patience", [Patience(hold=5_000), Patience(n=3, m=5)])
def test_what_is_pending_is_dropped_when_data_stays_away(patience: Patience) -> None:
    watch = Watch(Terms(patience, missing_after=60_000))
    watch.look("bad", 1_000)
    watch.look("bad", 1_000)
    watch.look("nodata", 1_000)

    assert watch.kinds("nodata", 59_999) == []
    assert watch.kinds("nodata", 1) == ["lost", "dropped"]
    assert watch.kinds("bad", 1_000) == ["back"]
    assert watch.machine.phase == "pending"
    assert (watch.machine.held, sum(watch.machine.recent)) == (0, 1 if patience.m else 0)


def test_short_gaps_do_not_add_up_to_a_long_one() -> None:
    watch = Watch(Terms(Patience(hold=1_000_000), missing_after=60_000))
    for _ in range(10):
        assert watch.kinds("bad", 1_000) == []
        assert watch.kinds("nodata", 1_000) == []
        assert watch.kinds("nodata", 59_000) == []


@pytest.mark.parametrize("gap", ["nodata", "error"])
@pytest.mark.parametrize("phase", ["firing", "easing"])
def test_lost_data_never_resolves_what_fires(phase: str, gap: What) -> None:
    watch = fired(Terms(Patience(hold=5_000), clear_for=10_000))
    if phase == "easing":
        watch.look("well", 1_000)
    assert watch.machine.phase == phase

    told = [kind for _ in range(200) for kind in watch.kinds(gap, 60_000)]

    assert told == ["lost"]
    assert watch.machine.fires


def test_missing_data_trips_a_freshness_rule_after_its_time_and_once() -> None:
    watch = Watch(Terms(Patience(hold=5_000), missing_after=60_000, missing_trips=True))
    watch.look("well", 1_000)
    watch.look("nodata", 1_000)

    assert watch.kinds("nodata", 59_999) == []
    assert watch.kinds("error", 1) == ["lost", "tripped"]
    assert watch.kinds("nodata", 600_000) == []
    assert watch.kinds("well", 1_000) == ["back", "cleared"]


def test_missing_data_that_only_holds_or_counts_as_ok_trips_nothing() -> None:
    """`if_missing: hold` and `ok` both come here without `missing_trips`: neither fires, neither resolves."""
    watch = Watch(Terms(Patience(), missing_after=60_000))

    assert [kind for _ in range(100) for kind in watch.kinds("nodata", 60_000)] == ["lost"]
    assert watch.machine.phase == "ok"


def test_the_time_since_the_last_good_look_is_not_known_to_be_missing() -> None:
    """Two looks an hour apart, the second without data: it may have gone away this very moment."""
    watch = Watch(Terms(Patience(), missing_after=60_000, missing_trips=True))
    watch.look("well", 1_000)

    assert watch.kinds("nodata", 3_600_000) == []
    assert watch.kinds("nodata", 60_000) == ["lost", "tripped"]


# ─ clearing ─


def test_without_a_clear_time_the_first_recovered_look_clears() -> None:
    watch = fired(Terms(Patience()))

    assert watch.kinds("between", 1_000) == []
    assert watch.kinds("well", 1_000) == ["cleared"]
    assert watch.machine.phase == "ok"


def test_it_clears_after_its_time_and_never_before() -> None:
    watch = fired(Terms(Patience(), clear_for=5_000))

    assert [watch.kinds("well", 1_000) for _ in range(6)] == [[], [], [], [], [], ["cleared"]]


@pytest.mark.parametrize("relapse", ["between", "bad"])
def test_flickering_between_limit_and_clear_is_no_recovery_and_no_new_trip(relapse: What) -> None:
    watch = fired(Terms(Patience(), clear_for=5_000))
    for _ in range(20):
        assert [watch.kinds("well", 1_000) for _ in range(5)] == [[]] * 5
        assert watch.kinds(relapse, 1_000) == []
        assert (watch.machine.phase, watch.machine.held) == ("firing", 0)

    assert [watch.kinds("well", 1_000) for _ in range(6)][-1] == ["cleared"]


def test_missing_data_pauses_the_clear_time_and_does_not_start_it_anew() -> None:
    watch = fired(Terms(Patience(), clear_for=5_000))
    for _ in range(4):
        watch.look("well", 1_000)  # 3 s held
    for _ in range(60):
        assert watch.kinds("nodata", 1_000) == []

    assert [watch.kinds("well", 1_000) for _ in range(3)] == [[], [], ["cleared"]]


def test_when_data_stays_away_the_clear_time_starts_anew() -> None:
    watch = fired(Terms(Patience(), clear_for=5_000, missing_after=60_000))
    for _ in range(5):
        watch.look("well", 1_000)
    watch.look("nodata", 1_000)

    assert watch.kinds("nodata", 60_000) == ["lost"]
    assert watch.machine.phase == "firing"
    assert [watch.kinds("well", 1_000) for _ in range(6)] == [["back"], [], [], [], [], ["cleared"]]


def test_the_phase_began_when_it_began() -> None:
    watch = Watch(Terms(Patience(hold=2_000), clear_for=2_000))
    since = []
    looks: list[What] = ["well", "bad", "bad", "bad", "bad", "between", "well", "well", "nodata", "well", "well"]
    for what in looks:
        watch.look(what, 1_000)
        since.append((watch.machine.phase, watch.machine.since - T0))

    assert since == [
        ("ok", 0),
        ("pending", 2_000),
        ("pending", 2_000),
        ("firing", 4_000),
        ("firing", 4_000),
        ("firing", 4_000),
        ("easing", 7_000),
        ("easing", 7_000),
        ("easing", 7_000),
        ("easing", 7_000),
        ("ok", 11_000),
    ]


# ─ restarts and clocks ─


def test_downtime_counts_neither_as_bad_nor_as_good() -> None:
    pending, easing = Watch(Terms(Patience(hold=5_000))), fired(Terms(Patience(), clear_for=5_000))
    for watch, what in ((pending, "bad"), (easing, "well")):
        for _ in range(3):
            watch.look("bad" if what == "bad" else "well", 1_000)
        watch.now += 3_600_000
        watch.machine = wake(watch.machine, watch.now)

    assert [pending.kinds("bad", 1_000) for _ in range(3)] == [[], [], ["tripped"]]
    assert [easing.kinds("well", 1_000) for _ in range(3)] == [[], [], ["cleared"]]


def test_downtime_is_not_missing_data() -> None:
    watch = Watch(Terms(Patience(), missing_after=60_000, missing_trips=True))
    watch.look("nodata", 1_000)
    watch.now += 3_600_000
    watch.machine = wake(watch.machine, watch.now)

    assert watch.kinds("nodata", 59_999) == []
    assert watch.kinds("nodata", 1) == ["lost", "tripped"]


def test_after_the_clock_went_back_new_samples_are_evaluations_again() -> None:
    """A wrong clock of yesterday must not keep a rule from counting until the time comes round again."""
    watch = Watch(Terms(Patience(n=2, m=3)))
    watch.look("well", 1_000)
    watch.now -= 86_400_000
    watch.machine = wake(watch.machine, watch.now)

    assert watch.machine.seen <= watch.now
    assert [watch.kinds("bad", 1_000), watch.kinds("bad", 1_000)] == [[], ["tripped"]]


def test_a_clock_that_goes_back_between_two_looks_takes_no_time_away() -> None:
    watch = Watch(Terms(Patience(hold=3_000)))
    watch.look("bad", 1_000)
    watch.look("bad", 2_000)
    watch.look("bad", -60_000)

    assert watch.machine.held == 2_000
    assert watch.kinds("bad", 1_000) == ["tripped"]


# ─ the same, for any history ─


class Look(NamedTuple):
    what: What
    after: Millis
    ticks: int
    """Timer ticks before the next look: the same verdict on the same evidence."""


ANY = settings(max_examples=20, deadline=None)

WHATS: tuple[What, ...] = ("bad", "bad", "between", "well", "nodata", "error")
PATIENCE = st.one_of(
    st.integers(0, 40).map(lambda hold: Patience(hold=hold)),
    st.tuples(st.integers(1, 5), st.integers(0, 4)).map(lambda found: Patience(n=found[0], m=sum(found))),
)
TERMS = st.builds(
    Terms,
    patience=PATIENCE,
    clear_for=st.integers(0, 30),
    missing_after=st.integers(0, 30),
    missing_trips=st.booleans(),
)


def looks(*whats: What) -> st.SearchStrategy[list[Look]]:
    look = st.tuples(st.sampled_from(whats or WHATS), st.integers(1, 20), st.integers(0, 3))
    return st.lists(look, min_size=1, max_size=12).map(lambda found: [Look(*each) for each in found])


Moment = tuple[Millis, What, Millis]
"""When, what is seen, and by which evidence."""


def moments(history: Sequence[Look], *, ticks: bool) -> list[Moment]:
    times = [T0 + sum(look.after for look in history[: number + 1]) for number in range(len(history))]
    told: list[Moment] = []
    for look, begin, end in zip(history, times, [*times[1:], times[-1] + 20], strict=True):
        told.append((begin, look.what, begin))
        between = sorted({begin + (end - begin) * (n + 1) // (look.ticks + 1) for n in range(look.ticks)})
        told += [(t, look.what, begin) for t in between if ticks and begin < t < end]
    return told


def run(history: Sequence[Moment], terms: Terms) -> list[Change]:
    machine, told = Machine(since=T0, last=T0), []
    for now, what, evidence in history:
        machine, changes = advance(machine, says(what, evidence), terms, now)
        told += changes
    return told


def first_trip(changes: Sequence[Change]) -> float:
    return min((change.t for change in changes if change.kind == "tripped"), default=float("inf"))


@ANY
@given(looks(), st.integers(1, 40), st.booleans())
def test_however_often_it_is_looked_at_it_never_fires_before_its_bad_time(
    history: list[Look], hold: Millis, ticks: bool
) -> None:
    """What was seen holds until the next look; ok starts the time anew, missing data pauses it."""
    told = moments(history, ticks=ticks)
    trip = first_trip(run(told, Terms(Patience(hold=hold), missing_after=10**9)))

    bad_time, before = 0, told[0]
    for moment in told:
        if before[1] == "bad":
            bad_time += moment[0] - before[0]
        if moment[0] == trip:
            assert moment[1] == "bad"
            assert bad_time >= hold
        if moment[1] in ("between", "well"):
            bad_time = 0
        before = moment


@ANY
@given(looks("bad", "well"), st.integers(0, 40))
def test_looked_at_all_the_time_it_fires_exactly_when_its_bad_time_is_over(history: list[Look], hold: Millis) -> None:
    told: list[Moment] = []
    expected, begin = float("inf"), None
    for (t, what, _), (until, _, _) in zip(
        moments(history, ticks=False), [*moments(history, ticks=False)[1:], (10**15, "well", 0)], strict=True
    ):
        told += [(now, what, t) for now in range(t, min(until, t + 60))]
        begin = None if what == "well" else t if begin is None else begin
        if begin is not None and begin + hold < until:
            expected = min(expected, max(begin + hold, t))

    assert first_trip(run(told, Terms(Patience(hold=hold)))) == expected


@ANY
@given(looks("bad", "between", "well"), st.integers(1, 5), st.integers(0, 4))
def test_timer_ticks_change_nothing_for_n_of_m(history: list[Look], n: int, more: int) -> None:
    terms = Terms(Patience(n=n, m=n + more))

    seldom, often = run(moments(history, ticks=False), terms), run(moments(history, ticks=True), terms)

    assert [(c.kind, c.t) for c in seldom] == [(c.kind, c.t) for c in often]


@ANY
@given(looks("bad", "well", "nodata"), st.integers(1, 5), st.integers(0, 4))
def test_n_of_m_fires_at_the_evaluation_that_makes_it_n(history: list[Look], n: int, more: int) -> None:
    told = moments(history, ticks=True)
    terms = Terms(Patience(n=n, m=n + more), missing_after=10**9)

    evaluations = [(t, what) for t, what, evidence in told if t == evidence and what != "nodata"]
    enough = [
        t
        for number, (t, _) in enumerate(evaluations)
        if sum(what == "bad" for _, what in evaluations[max(0, number + 1 - n - more) : number + 1]) >= n
    ]
    assert first_trip(run(told, terms)) == (enough[0] if enough else float("inf"))


@ANY
@given(looks(), TERMS)
def test_the_same_verdict_at_the_same_moment_changes_nothing_more(history: list[Look], terms: Terms) -> None:
    machine = Machine(since=T0, last=T0)
    for now, what, evidence in moments(history, ticks=True):
        machine, _ = advance(machine, says(what, evidence), terms, now)

        assert advance(machine, says(what, evidence), terms, now) == (machine, [])


@ANY
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 10)), min_size=1, max_size=30), st.floats(0, 10), st.floats(0, 10), TERMS
)
def test_a_stricter_limit_never_trips_later(
    values: list[float | None], limit: float, further: float, terms: Terms
) -> None:
    def history(above: float) -> list[Moment]:
        return [
            (T0 + 7 * n, "nodata" if value is None else "bad" if value > above else "well", T0 + 7 * n)
            for n, value in enumerate(values)
        ]

    assert first_trip(run(history(limit), terms)) <= first_trip(run(history(limit + further), terms))


@ANY
@given(looks(), TERMS, st.data())
def test_a_restart_at_any_moment_changes_no_event(history: list[Look], terms: Terms, data: st.DataObject) -> None:
    """What happens afterwards happens as if the time in between had not been."""
    told = moments(history, ticks=True)
    naps = data.draw(st.dictionaries(st.sampled_from([t for t, _, _ in told]), st.integers(0, 10**6), max_size=5))
    machine, shift, newest, seen = Machine(since=T0, last=T0), 0, 0, []
    for now, what, evidence in told:
        newest = now + shift if now == evidence else newest
        machine, changes = advance(machine, says(what, newest), terms, now + shift)
        seen += [(change.kind, change.t - shift) for change in changes]
        if now in naps:
            state = json.loads(json.dumps(asdict(machine)))
            shift += naps[now]
            machine = wake(Machine(**{**state, "recent": tuple(state["recent"])}), now + shift)

    assert seen == [(change.kind, change.t) for change in run(told, terms)]


@ANY
@given(looks(), TERMS)
def test_every_change_follows_from_the_phases(history: list[Look], terms: Terms) -> None:
    machine = Machine(since=T0, last=T0)
    for now, what, evidence in moments(history, ticks=True):
        after, changes = advance(machine, says(what, evidence), terms, now)
        kinds = {change.kind for change in changes}

        assert ("tripped" in kinds) == (after.fires and not machine.fires)
        assert ("cleared" in kinds) == (machine.fires and not after.fires)
        assert kinds <= (
            {"lost", "tripped", "dropped"} if what in ("nodata", "error") else {"back", "tripped", "cleared", "dropped"}
        )
        if "tripped" in kinds:
            assert what == "bad" or (after.lost and terms.missing_trips)
        if "cleared" in kinds:
            assert what == "well"
        machine = after


# ─ proof ─

SLOW = Terms(Patience(hold=5_000), clear_for=60_000)


@dataclass
class Bench:
    """A trial under way."""

    terms: dict[Key, Terms]
    quiet: Millis = 5_000
    now: Millis = T0
    trial: Trial = field(default_factory=lambda: Trial(since=T0, last=T0))

    def look(
        self, what: What | dict[Key, What], after: Millis = 1_000, that: dict[str, bool | None] | None = None
    ) -> Finding | None:
        self.now += after
        seen = dict.fromkeys(self.terms, what) if isinstance(what, str) else what
        verdicts = [says(each, self.now, key=key) for key, each in seen.items()]
        self.trial, finding = prove(self.trial, self.terms, verdicts, that or {}, self.quiet, self.now)
        return finding

    def outcomes(self, what: What, times: int = 1) -> list[str | None]:
        return [None if (found := self.look(what)) is None else found.outcome for _ in range(times)]


def test_all_quiet_for_long_enough_is_proof() -> None:
    bench = Bench({KEY: SLOW})

    assert bench.outcomes("well", 6) == [None] * 5 + ["proven"]


def test_the_proof_says_what_was_quiet_and_what_is_so() -> None:
    other = Key("other", "warn", (("pair", "BTC"),))
    bench = Bench({KEY: SLOW, other: SLOW}, quiet=0)

    assert bench.look("well", that={"bars > 0": True}) == Finding("proven", "other, r quiet and bars > 0")


def test_with_no_rule_asked_the_conditions_alone_prove() -> None:
    bench = Bench({}, quiet=0)

    assert bench.look("well", that={"entries == 0": False}) is None
    assert bench.trial.reason == "entries == 0 is not so"
    assert bench.look("well", that={"entries == 0": True}) == Finding("proven", "entries == 0")


@pytest.mark.parametrize("gap", ["nodata", "error"])
def test_a_stopped_bot_is_never_proven_and_never_disproven(gap: What) -> None:
    bench = Bench({KEY: SLOW}, quiet=0)

    assert set(bench.outcomes(gap, 500)) == {None}
    assert bench.trial.reason == f"it is {gap}"


def test_missing_data_is_no_disproof_even_of_a_rule_that_missing_data_trips() -> None:
    """The bot is restarting: no data for a while, and then it is well but has not been so for `clear_for`."""
    freshness = Terms(Patience(hold=5_000), clear_for=60_000, missing_after=2_000, missing_trips=True)
    bench = Bench({KEY: freshness})

    assert bench.outcomes("nodata", 10) + bench.outcomes("between", 3) == [None] * 13
    assert bench.outcomes("well", 6) == [None] * 5 + ["proven"]


def test_what_was_not_even_read_is_unknown() -> None:
    bench = Bench({KEY: SLOW, Key("other", "crit", ()): SLOW}, quiet=0)

    assert bench.look({KEY: "well"}) is None
    assert bench.trial.reason == "other: nothing was read"


def test_a_rule_that_was_not_asked_about_proves_and_disproves_nothing() -> None:
    other = Key("other", "crit", ())
    bench = Bench({KEY: Terms(Patience())}, quiet=2_000)

    told = [bench.look({KEY: "well", other: "bad"}) for _ in range(3)]

    assert [None if each is None else each.outcome for each in told] == [None, None, "proven"]


def test_a_rule_that_trips_again_is_disproof() -> None:
    bench = Bench({KEY: SLOW})

    assert bench.outcomes("bad", 6) == [None] * 5 + ["disproven"]
    assert Bench({KEY: Terms(Patience())}).look("bad") == Finding("disproven", "r: it is bad")


def test_one_rule_that_trips_again_is_enough() -> None:
    other = Key("r", "crit", (("pair", "BTC"),))
    bench = Bench({KEY: Terms(Patience()), other: Terms(Patience())}, quiet=0)

    found = bench.look({KEY: "well", other: "bad"}, that={"x": True})

    assert found is not None
    assert found.outcome == "disproven"


def test_disproof_needs_the_rules_own_patience_on_new_evidence() -> None:
    bench = Bench({KEY: Terms(Patience(n=2, m=3))})

    assert bench.outcomes("bad") + bench.outcomes("well", 2) == [None] * 3
    assert bench.outcomes("bad", 2) == [None, "disproven"]


def test_a_warning_that_stays_is_neither_proof_nor_disproof() -> None:
    warn = Key("r", "warn", ())
    bench = Bench({warn: Terms(Patience())}, quiet=0)

    assert set(bench.outcomes("bad", 100)) == {None}
    assert bench.outcomes("well") == ["proven"]


@pytest.mark.parametrize("unwell", ["bad", "between"])
def test_anything_unwell_starts_the_quiet_time_anew(unwell: What) -> None:
    bench = Bench({KEY: SLOW})
    bench.outcomes("well", 5)

    assert bench.outcomes(unwell) == [None]
    assert bench.trial.quiet == 0
    assert bench.outcomes("well", 6) == [None] * 5 + ["proven"]


def test_a_condition_that_is_not_so_starts_the_quiet_time_anew() -> None:
    bench = Bench({KEY: SLOW})
    for _ in range(5):
        assert bench.look("well", that={"x": True}) is None
    assert bench.look("well", that={"x": False}) is None

    assert bench.trial.quiet == 0


def test_what_is_unknown_pauses_the_quiet_time() -> None:
    bench = Bench({KEY: SLOW})
    bench.outcomes("well", 4)  # 3 s quiet

    assert bench.outcomes("nodata", 60) == [None] * 60
    assert bench.look("well", that={"x": None}) is None
    assert bench.trial.reason == "x: nothing to tell by"
    assert bench.trial.quiet == 3_000
    assert bench.outcomes("well", 3) == [None, None, "proven"]


def test_unwell_beside_unknown_is_unwell() -> None:
    bench = Bench({KEY: SLOW})
    bench.outcomes("well", 4)
    bench.look("between", that={"x": None})

    assert bench.trial.quiet == 0
    assert bench.trial.reason == "r: it is between; x: nothing to tell by"


def test_a_condition_that_cannot_be_told_never_proves() -> None:
    bench = Bench({KEY: SLOW}, quiet=0)

    assert {bench.look("well", that={"x": None}) for _ in range(100)} == {None}


@ANY
@given(
    st.lists(
        st.tuples(st.sampled_from(WHATS), st.sampled_from([True, True, False, None]), st.integers(0, 20)), max_size=40
    ),
    st.integers(0, 60),
    TERMS,
)
def test_proof_is_quiet_time_and_disproof_is_a_bad_look(
    history: list[tuple[What, bool | None, Millis]], quiet: Millis, terms: Terms
) -> None:
    """An independent count: time between two looks counts when all was well at both of them."""
    bench, counted, was_well = Bench({KEY: terms}, quiet=quiet), 0, False
    for what, condition, after in history:
        found = bench.look(what, after, {"x": condition})
        well = what == "well" and condition is True
        counted += after if well and was_well else 0
        counted = 0 if what in ("bad", "between") or condition is False else counted
        was_well = well

        if found is None:
            assert not (well and counted >= quiet)
            continue
        assert (found.outcome == "disproven") == (what == "bad")
        assert (found.outcome == "proven") == (well and counted >= quiet)
        return


def test_a_trial_is_not_changed_by_looking() -> None:
    trial = Trial(since=T0, last=T0)
    kept = replace(trial)

    prove(trial, {KEY: SLOW}, [says("well", T0 + 1)], {}, 0, T0 + 1)

    assert trial == kept
    assert trial.machines == {}
