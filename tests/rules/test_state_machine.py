"""The state machine of one threshold, and what counts as proof."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.model import Millis, Outcome, Verdict
from watchdog.rules.prove import ProofResult, ProofState, prove
from watchdog.rules.state_machine import MachineConfig, MachineState, StateKey, Transition, advance, skip_gap

T0 = 1_700_000_000_000
KEY = StateKey("r", "crit", ())


class FakePatience(NamedTuple):
    duration: Millis = 0
    n: int = 0
    m: int = 0


Kind = Literal["bad", "between", "well", "nodata", "error"]
"""`between`: no longer bad, but not on the good side of `clear` either."""

OUTCOME_BY_KIND: dict[Kind, Outcome] = {
    "bad": "bad",
    "between": "ok",
    "well": "ok",
    "nodata": "nodata",
    "error": "error",
}


def make_verdict(kind: Kind, evidence: Millis, *, key: StateKey = KEY) -> Verdict:
    seen = kind not in ("nodata", "error")
    return Verdict(
        key.rule,
        "crit" if key.level == "crit" else "warn",
        key.labels,
        OUTCOME_BY_KIND[kind],
        f"it is {kind}",
        1.0 if seen else None,
        2.0,
        kind == "well",
        evidence if seen else 0,
    )


@dataclass
class MachineHarness:
    """A machine under watch: every `look` says what came out of it."""

    terms: MachineConfig
    now: Millis = T0
    machine: MachineState = field(default_factory=lambda: MachineState(since=T0, last=T0))
    evidence: Millis = T0 - 1

    def advance(self, kind: Kind, after: Millis = 0, *, new: bool = True) -> list[Transition]:
        """One look, `after` ms later; with `new=False` no sample has come since the last one."""
        self.now += after
        if new:
            self.evidence = self.now
        self.machine, changes = advance(self.machine, make_verdict(kind, self.evidence), self.terms, self.now)
        return changes

    def change_kinds(self, kind: Kind, after: Millis = 0, *, new: bool = True) -> list[str]:
        return [change.kind for change in self.advance(kind, after, new=new)]


def make_firing(terms: MachineConfig) -> MachineHarness:
    """A watch whose rule has just tripped."""
    watch = MachineHarness(terms)
    for _ in range(1_000):
        if "tripped" in watch.change_kinds("bad", 1_000):
            return watch
    raise AssertionError("it never trips")


# ─ tripping ─


def test_without_patience_the_first_bad_look_trips() -> None:
    watch = MachineHarness(MachineConfig(FakePatience()))

    (change,) = watch.advance("bad", 1_000)

    assert (change.key, change.kind, change.time, change.reason) == (KEY, "tripped", T0 + 1_000, "it is bad")
    assert change.machine == watch.machine
    assert watch.machine.is_firing


def test_it_never_fires_before_its_time() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=5_000)))

    told = [watch.change_kinds("bad", 1_000) for _ in range(6)]

    assert told == [[], [], [], [], [], ["tripped"]]


def test_a_single_good_look_starts_the_time_anew() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=3_000)))
    for what in ("bad", "bad", "bad"):
        assert watch.change_kinds(what, 1_000) == []

    assert watch.change_kinds("between", 1_000) == ["dropped"]
    assert [watch.change_kinds("bad", 1_000) for _ in range(4)] == [[], [], [], ["tripped"]]


def test_of_n_of_m_the_last_m_evaluations_count() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(n=3, m=5)))
    looks: list[Kind] = ["bad", "well", "well", "bad", "well", "bad", "bad"]

    told = [watch.change_kinds(what, 1_000) for what in looks]

    assert told == [[], [], [], [], [], [], ["tripped"]]  # the first one has left the last five by then


def test_a_timer_tick_is_no_evaluation() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(n=3, m=3)))
    watch.advance("bad", 1_000)
    for _ in range(20):
        assert watch.change_kinds("bad", 1_000, new=False) == []

    assert [watch.change_kinds("bad", 1_000), watch.change_kinds("bad", 1_000)] == [[], ["tripped"]]


def test_older_evidence_is_no_evaluation_either() -> None:
    machine, terms = MachineState(evidence=T0, last=T0), MachineConfig(FakePatience(n=1, m=1))

    machine, changes = advance(machine, make_verdict("bad", T0 - 1), terms, T0 + 1_000)

    assert changes == []
    assert machine.evidence == T0


def test_a_trip_needs_a_bad_look_whatever_a_reload_did_to_its_terms() -> None:
    """Three of five become two of five, while two stand in the record and all is well."""
    watch = MachineHarness(MachineConfig(FakePatience(n=3, m=5)))
    for what in ("bad", "bad", "well"):
        watch.advance(what, 1_000)
    watch.terms = MachineConfig(FakePatience(n=2, m=5))

    assert watch.change_kinds("well", 0, new=False) == []
    assert watch.change_kinds("well", 1_000) == []
    assert watch.change_kinds("bad", 1_000) == ["tripped"]


def test_after_a_reload_only_the_new_m_evaluations_count() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(n=4, m=5)))
    for what in ("bad", "well", "bad", "well", "bad"):
        watch.advance(what, 1_000)
    watch.terms = MachineConfig(FakePatience(n=3, m=3))

    assert watch.change_kinds("bad", 0, new=False) == []
    assert watch.machine.recent == (True, False, True)


def test_what_stood_before_a_trip_does_not_count_after_it() -> None:
    watch = make_firing(MachineConfig(FakePatience(n=2, m=3)))
    watch.advance("bad", 1_000)

    assert watch.change_kinds("well", 1_000) == ["cleared"]
    assert watch.change_kinds("bad", 1_000) == []
    assert watch.change_kinds("bad", 1_000) == ["tripped"]


# ─ missing data ─


@pytest.mark.parametrize("gap", ["nodata", "error"])
def test_missing_data_pauses_the_time_and_does_not_start_it_anew(gap: Kind) -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=5_000)))
    for _ in range(4):
        watch.advance("bad", 1_000)  # 3 s held
    for _ in range(60):
        assert watch.change_kinds(gap, 1_000) == []

    assert watch.machine.phase == "pending"
    assert [watch.change_kinds("bad", 1_000) for _ in range(3)] == [[], [], ["tripped"]]


@pytest.mark.parametrize("gap", ["nodata", "error"])
def test_missing_data_is_no_evaluation(gap: Kind) -> None:
    watch = MachineHarness(MachineConfig(FakePatience(n=2, m=3)))
    watch.advance("bad", 1_000)
    for _ in range(10):
        assert watch.change_kinds(gap, 1_000) == []

    assert watch.change_kinds("well", 1_000) == []
    assert watch.change_kinds("bad", 1_000) == ["tripped"]


@pytest.mark.parametrize("patience", [FakePatience(duration=5_000), FakePatience(n=3, m=5)])
def test_what_is_pending_is_dropped_when_data_stays_away(patience: FakePatience) -> None:
    watch = MachineHarness(MachineConfig(patience, missing_after=60_000))
    watch.advance("bad", 1_000)
    watch.advance("bad", 1_000)
    watch.advance("nodata", 1_000)

    assert watch.change_kinds("nodata", 59_999) == []
    assert watch.change_kinds("nodata", 1) == ["lost", "dropped"]
    assert watch.change_kinds("bad", 1_000) == ["back"]
    assert watch.machine.phase == "pending"
    assert (watch.machine.held, sum(watch.machine.recent)) == (0, 1 if patience.m else 0)


def test_short_gaps_do_not_add_up_to_a_long_one() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=1_000_000), missing_after=60_000))
    for _ in range(10):
        assert watch.change_kinds("bad", 1_000) == []
        assert watch.change_kinds("nodata", 1_000) == []
        assert watch.change_kinds("nodata", 59_000) == []


@pytest.mark.parametrize("gap", ["nodata", "error"])
@pytest.mark.parametrize("phase", ["firing", "easing"])
def test_lost_data_never_resolves_what_fires(phase: str, gap: Kind) -> None:
    watch = make_firing(MachineConfig(FakePatience(duration=5_000), clear_for=10_000))
    if phase == "easing":
        watch.advance("well", 1_000)
    assert watch.machine.phase == phase

    told = [kind for _ in range(200) for kind in watch.change_kinds(gap, 60_000)]

    assert told == ["lost"]
    assert watch.machine.is_firing


def test_missing_data_trips_a_freshness_rule_after_its_time_and_once() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=5_000), missing_after=60_000, trip_when_missing=True))
    watch.advance("well", 1_000)
    watch.advance("nodata", 1_000)

    assert watch.change_kinds("nodata", 59_999) == []
    assert watch.change_kinds("error", 1) == ["lost", "tripped"]
    assert watch.change_kinds("nodata", 600_000) == []
    assert watch.change_kinds("well", 1_000) == ["back", "cleared"]


def test_missing_data_that_only_holds_or_counts_as_ok_trips_nothing() -> None:
    """`if_missing: hold` and `ok` both come here without `trip_when_missing`: neither fires, neither resolves."""
    watch = MachineHarness(MachineConfig(FakePatience(), missing_after=60_000))

    assert [kind for _ in range(100) for kind in watch.change_kinds("nodata", 60_000)] == ["lost"]
    assert watch.machine.phase == "ok"


def test_the_time_since_the_last_good_look_is_not_known_to_be_missing() -> None:
    """Two looks an hour apart, the second without data: it may have gone away this very moment."""
    watch = MachineHarness(MachineConfig(FakePatience(), missing_after=60_000, trip_when_missing=True))
    watch.advance("well", 1_000)

    assert watch.change_kinds("nodata", 3_600_000) == []
    assert watch.change_kinds("nodata", 60_000) == ["lost", "tripped"]


# ─ clearing ─


def test_without_a_clear_time_the_first_recovered_look_clears() -> None:
    watch = make_firing(MachineConfig(FakePatience()))

    assert watch.change_kinds("between", 1_000) == []
    assert watch.change_kinds("well", 1_000) == ["cleared"]
    assert watch.machine.phase == "ok"


def test_it_clears_after_its_time_and_never_before() -> None:
    watch = make_firing(MachineConfig(FakePatience(), clear_for=5_000))

    assert [watch.change_kinds("well", 1_000) for _ in range(6)] == [[], [], [], [], [], ["cleared"]]


@pytest.mark.parametrize("relapse", ["between", "bad"])
def test_flickering_between_limit_and_clear_is_no_recovery_and_no_new_trip(relapse: Kind) -> None:
    watch = make_firing(MachineConfig(FakePatience(), clear_for=5_000))
    for _ in range(20):
        assert [watch.change_kinds("well", 1_000) for _ in range(5)] == [[]] * 5
        assert watch.change_kinds(relapse, 1_000) == []
        assert (watch.machine.phase, watch.machine.held) == ("firing", 0)

    assert [watch.change_kinds("well", 1_000) for _ in range(6)][-1] == ["cleared"]


def test_missing_data_pauses_the_clear_time_and_does_not_start_it_anew() -> None:
    watch = make_firing(MachineConfig(FakePatience(), clear_for=5_000))
    for _ in range(4):
        watch.advance("well", 1_000)  # 3 s held
    for _ in range(60):
        assert watch.change_kinds("nodata", 1_000) == []

    assert [watch.change_kinds("well", 1_000) for _ in range(3)] == [[], [], ["cleared"]]


def test_when_data_stays_away_the_clear_time_starts_anew() -> None:
    watch = make_firing(MachineConfig(FakePatience(), clear_for=5_000, missing_after=60_000))
    for _ in range(5):
        watch.advance("well", 1_000)
    watch.advance("nodata", 1_000)

    assert watch.change_kinds("nodata", 60_000) == ["lost"]
    assert watch.machine.phase == "firing"
    assert [watch.change_kinds("well", 1_000) for _ in range(6)] == [["back"], [], [], [], [], ["cleared"]]


def test_the_phase_began_when_it_began() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=2_000), clear_for=2_000))
    since = []
    looks: list[Kind] = ["well", "bad", "bad", "bad", "bad", "between", "well", "well", "nodata", "well", "well"]
    for what in looks:
        watch.advance(what, 1_000)
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
    pending, easing = (
        MachineHarness(MachineConfig(FakePatience(duration=5_000))),
        make_firing(MachineConfig(FakePatience(), clear_for=5_000)),
    )
    for watch, what in ((pending, "bad"), (easing, "well")):
        for _ in range(3):
            watch.advance("bad" if what == "bad" else "well", 1_000)
        watch.now += 3_600_000
        watch.machine = skip_gap(watch.machine, watch.now)

    assert [pending.change_kinds("bad", 1_000) for _ in range(3)] == [[], [], ["tripped"]]
    assert [easing.change_kinds("well", 1_000) for _ in range(3)] == [[], [], ["cleared"]]


def test_downtime_is_not_missing_data() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(), missing_after=60_000, trip_when_missing=True))
    watch.advance("nodata", 1_000)
    watch.now += 3_600_000
    watch.machine = skip_gap(watch.machine, watch.now)

    assert watch.change_kinds("nodata", 59_999) == []
    assert watch.change_kinds("nodata", 1) == ["lost", "tripped"]


def test_after_the_clock_went_back_new_samples_are_evaluations_again() -> None:
    """A wrong clock of yesterday must not keep a rule from counting until the time comes round again."""
    watch = MachineHarness(MachineConfig(FakePatience(n=2, m=3)))
    watch.advance("well", 1_000)
    watch.now -= 86_400_000
    watch.machine = skip_gap(watch.machine, watch.now)

    assert watch.machine.seen <= watch.now
    assert [watch.change_kinds("bad", 1_000), watch.change_kinds("bad", 1_000)] == [[], ["tripped"]]


def test_a_clock_that_goes_back_between_two_looks_takes_no_time_away() -> None:
    watch = MachineHarness(MachineConfig(FakePatience(duration=3_000)))
    watch.advance("bad", 1_000)
    watch.advance("bad", 2_000)
    watch.advance("bad", -60_000)

    assert watch.machine.held == 2_000
    assert watch.change_kinds("bad", 1_000) == ["tripped"]


# ─ the same, for any history ─


class Observation(NamedTuple):
    kind: Kind
    after: Millis
    ticks: int
    """Timer ticks before the next look: the same verdict on the same evidence."""


ANY = settings(max_examples=20, deadline=None)

KINDS: tuple[Kind, ...] = ("bad", "bad", "between", "well", "nodata", "error")
PATIENCE = st.one_of(
    st.integers(0, 40).map(lambda hold: FakePatience(duration=hold)),
    st.tuples(st.integers(1, 5), st.integers(0, 4)).map(lambda found: FakePatience(n=found[0], m=sum(found))),
)
TERMS = st.builds(
    MachineConfig,
    patience=PATIENCE,
    clear_for=st.integers(0, 30),
    missing_after=st.integers(0, 30),
    trip_when_missing=st.booleans(),
)


def observations(*kinds: Kind) -> st.SearchStrategy[list[Observation]]:
    look = st.tuples(st.sampled_from(kinds or KINDS), st.integers(1, 20), st.integers(0, 3))
    return st.lists(look, min_size=1, max_size=12).map(lambda found: [Observation(*each) for each in found])


Evaluation = tuple[Millis, Kind, Millis]
"""When, what is seen, and by which evidence."""


def make_evaluations(history: Sequence[Observation], *, ticks: bool) -> list[Evaluation]:
    times = [T0 + sum(look.after for look in history[: number + 1]) for number in range(len(history))]
    told: list[Evaluation] = []
    for look, begin, end in zip(history, times, [*times[1:], times[-1] + 20], strict=True):
        told.append((begin, look.kind, begin))
        between = sorted({begin + (end - begin) * (n + 1) // (look.ticks + 1) for n in range(look.ticks)})
        told += [(t, look.kind, begin) for t in between if ticks and begin < t < end]
    return told


def run_machine(history: Sequence[Evaluation], terms: MachineConfig) -> list[Transition]:
    machine, told = MachineState(since=T0, last=T0), []
    for now, what, evidence in history:
        machine, changes = advance(machine, make_verdict(what, evidence), terms, now)
        told += changes
    return told


def first_trip(changes: Sequence[Transition]) -> float:
    return min((change.time for change in changes if change.kind == "tripped"), default=float("inf"))


@ANY
@given(observations(), st.integers(1, 40), st.booleans())
def test_however_often_it_is_looked_at_it_never_fires_before_its_bad_time(
    history: list[Observation], hold: Millis, ticks: bool
) -> None:
    """What was seen holds until the next look; ok starts the time anew, missing data pauses it."""
    told = make_evaluations(history, ticks=ticks)
    trip = first_trip(run_machine(told, MachineConfig(FakePatience(duration=hold), missing_after=10**9)))

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
@given(observations("bad", "well"), st.integers(0, 40))
def test_looked_at_all_the_time_it_fires_exactly_when_its_bad_time_is_over(
    history: list[Observation], hold: Millis
) -> None:
    told: list[Evaluation] = []
    expected, begin = float("inf"), None
    for (t, what, _), (until, _, _) in zip(
        make_evaluations(history, ticks=False),
        [*make_evaluations(history, ticks=False)[1:], (10**15, "well", 0)],
        strict=True,
    ):
        told += [(now, what, t) for now in range(t, min(until, t + 60))]
        begin = None if what == "well" else t if begin is None else begin
        if begin is not None and begin + hold < until:
            expected = min(expected, max(begin + hold, t))

    assert first_trip(run_machine(told, MachineConfig(FakePatience(duration=hold)))) == expected


@ANY
@given(observations("bad", "between", "well"), st.integers(1, 5), st.integers(0, 4))
def test_timer_ticks_change_nothing_for_n_of_m(history: list[Observation], n: int, more: int) -> None:
    terms = MachineConfig(FakePatience(n=n, m=n + more))

    seldom, often = (
        run_machine(make_evaluations(history, ticks=False), terms),
        run_machine(make_evaluations(history, ticks=True), terms),
    )

    assert [(c.kind, c.time) for c in seldom] == [(c.kind, c.time) for c in often]


@ANY
@given(observations("bad", "well", "nodata"), st.integers(1, 5), st.integers(0, 4))
def test_n_of_m_fires_at_the_evaluation_that_makes_it_n(history: list[Observation], n: int, more: int) -> None:
    told = make_evaluations(history, ticks=True)
    terms = MachineConfig(FakePatience(n=n, m=n + more), missing_after=10**9)

    evaluations = [(t, what) for t, what, evidence in told if t == evidence and what != "nodata"]
    enough = [
        t
        for number, (t, _) in enumerate(evaluations)
        if sum(what == "bad" for _, what in evaluations[max(0, number + 1 - n - more) : number + 1]) >= n
    ]
    assert first_trip(run_machine(told, terms)) == (enough[0] if enough else float("inf"))


@ANY
@given(observations(), TERMS)
def test_the_same_verdict_at_the_same_moment_changes_nothing_more(
    history: list[Observation], terms: MachineConfig
) -> None:
    machine = MachineState(since=T0, last=T0)
    for now, what, evidence in make_evaluations(history, ticks=True):
        machine, _ = advance(machine, make_verdict(what, evidence), terms, now)

        assert advance(machine, make_verdict(what, evidence), terms, now) == (machine, [])


@ANY
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 10)), min_size=1, max_size=30), st.floats(0, 10), st.floats(0, 10), TERMS
)
def test_a_stricter_limit_never_trips_later(
    values: list[float | None], limit: float, further: float, terms: MachineConfig
) -> None:
    def history(above: float) -> list[Evaluation]:
        return [
            (T0 + 7 * n, "nodata" if value is None else "bad" if value > above else "well", T0 + 7 * n)
            for n, value in enumerate(values)
        ]

    assert first_trip(run_machine(history(limit), terms)) <= first_trip(run_machine(history(limit + further), terms))


@ANY
@given(observations(), TERMS, st.data())
def test_a_restart_at_any_moment_changes_no_event(
    history: list[Observation], terms: MachineConfig, data: st.DataObject
) -> None:
    """What happens afterwards happens as if the time in between had not been."""
    told = make_evaluations(history, ticks=True)
    naps = data.draw(st.dictionaries(st.sampled_from([t for t, _, _ in told]), st.integers(0, 10**6), max_size=5))
    machine, shift, newest, seen = MachineState(since=T0, last=T0), 0, 0, []
    for now, what, evidence in told:
        newest = now + shift if now == evidence else newest
        machine, changes = advance(machine, make_verdict(what, newest), terms, now + shift)
        seen += [(change.kind, change.time - shift) for change in changes]
        if now in naps:
            state = json.loads(json.dumps(asdict(machine)))
            shift += naps[now]
            machine = skip_gap(MachineState(**{**state, "recent": tuple(state["recent"])}), now + shift)

    assert seen == [(change.kind, change.time) for change in run_machine(told, terms)]


@ANY
@given(observations(), TERMS)
def test_every_change_follows_from_the_phases(history: list[Observation], terms: MachineConfig) -> None:
    machine = MachineState(since=T0, last=T0)
    for now, what, evidence in make_evaluations(history, ticks=True):
        after, changes = advance(machine, make_verdict(what, evidence), terms, now)
        kinds = {change.kind for change in changes}

        assert ("tripped" in kinds) == (after.is_firing and not machine.is_firing)
        assert ("cleared" in kinds) == (machine.is_firing and not after.is_firing)
        assert kinds <= (
            {"lost", "tripped", "dropped"} if what in ("nodata", "error") else {"back", "tripped", "cleared", "dropped"}
        )
        if "tripped" in kinds:
            assert what == "bad" or (after.lost and terms.trip_when_missing)
        if "cleared" in kinds:
            assert what == "well"
        machine = after


# ─ proof ─

SLOW_TERMS = MachineConfig(FakePatience(duration=5_000), clear_for=60_000)


@dataclass
class TrialHarness:
    """A trial under way."""

    terms: dict[StateKey, MachineConfig]
    quiet: Millis = 5_000
    now: Millis = T0
    trial: ProofState = field(default_factory=lambda: ProofState(since=T0, last=T0))

    def observe(
        self, kind: Kind | dict[StateKey, Kind], after: Millis = 1_000, that: dict[str, bool | None] | None = None
    ) -> ProofResult | None:
        self.now += after
        seen = dict.fromkeys(self.terms, kind) if isinstance(kind, str) else kind
        verdicts = [make_verdict(each, self.now, key=key) for key, each in seen.items()]
        self.trial, finding = prove(self.trial, self.terms, verdicts, that or {}, self.quiet, self.now)
        return finding

    def outcomes(self, kind: Kind, times: int = 1) -> list[str | None]:
        return [None if (found := self.observe(kind)) is None else found.outcome for _ in range(times)]


def test_all_quiet_for_long_enough_is_proof() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS})

    assert bench.outcomes("well", 6) == [None] * 5 + ["proven"]


def test_the_proof_says_what_was_quiet_and_what_is_so() -> None:
    other = StateKey("other", "warn", (("pair", "BTC"),))
    bench = TrialHarness({KEY: SLOW_TERMS, other: SLOW_TERMS}, quiet=0)

    assert bench.observe("well", that={"bars > 0": True}) == ProofResult("proven", "other, r quiet and bars > 0")


def test_with_no_rule_asked_the_conditions_alone_prove() -> None:
    bench = TrialHarness({}, quiet=0)

    assert bench.observe("well", that={"entries == 0": False}) is None
    assert bench.trial.reason == "entries == 0 is not so"
    assert bench.observe("well", that={"entries == 0": True}) == ProofResult("proven", "entries == 0")


@pytest.mark.parametrize("gap", ["nodata", "error"])
def test_a_stopped_bot_is_never_proven_and_never_disproven(gap: Kind) -> None:
    bench = TrialHarness({KEY: SLOW_TERMS}, quiet=0)

    assert set(bench.outcomes(gap, 500)) == {None}
    assert bench.trial.reason == f"it is {gap}"


def test_missing_data_is_no_disproof_even_of_a_rule_that_missing_data_trips() -> None:
    """The bot is restarting: no data for a while, and then it is well but has not been so for `clear_for`."""
    freshness = MachineConfig(
        FakePatience(duration=5_000), clear_for=60_000, missing_after=2_000, trip_when_missing=True
    )
    bench = TrialHarness({KEY: freshness})

    assert bench.outcomes("nodata", 10) + bench.outcomes("between", 3) == [None] * 13
    assert bench.outcomes("well", 6) == [None] * 5 + ["proven"]


def test_what_was_not_even_read_is_unknown() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS, StateKey("other", "crit", ()): SLOW_TERMS}, quiet=0)

    assert bench.observe({KEY: "well"}) is None
    assert bench.trial.reason == "other: nothing was read"


def test_a_rule_that_was_not_asked_about_proves_and_disproves_nothing() -> None:
    other = StateKey("other", "crit", ())
    bench = TrialHarness({KEY: MachineConfig(FakePatience())}, quiet=2_000)

    told = [bench.observe({KEY: "well", other: "bad"}) for _ in range(3)]

    assert [None if each is None else each.outcome for each in told] == [None, None, "proven"]


def test_a_rule_that_trips_again_is_disproof() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS})

    assert bench.outcomes("bad", 6) == [None] * 5 + ["disproven"]
    assert TrialHarness({KEY: MachineConfig(FakePatience())}).observe("bad") == ProofResult("disproven", "r: it is bad")


def test_one_rule_that_trips_again_is_enough() -> None:
    other = StateKey("r", "crit", (("pair", "BTC"),))
    bench = TrialHarness({KEY: MachineConfig(FakePatience()), other: MachineConfig(FakePatience())}, quiet=0)

    found = bench.observe({KEY: "well", other: "bad"}, that={"x": True})

    assert found is not None
    assert found.outcome == "disproven"


def test_disproof_needs_the_rules_own_patience_on_new_evidence() -> None:
    bench = TrialHarness({KEY: MachineConfig(FakePatience(n=2, m=3))})

    assert bench.outcomes("bad") + bench.outcomes("well", 2) == [None] * 3
    assert bench.outcomes("bad", 2) == [None, "disproven"]


def test_a_warning_that_stays_is_neither_proof_nor_disproof() -> None:
    warn = StateKey("r", "warn", ())
    bench = TrialHarness({warn: MachineConfig(FakePatience())}, quiet=0)

    assert set(bench.outcomes("bad", 100)) == {None}
    assert bench.outcomes("well") == ["proven"]


@pytest.mark.parametrize("unwell", ["bad", "between"])
def test_anything_unwell_starts_the_quiet_time_anew(unwell: Kind) -> None:
    bench = TrialHarness({KEY: SLOW_TERMS})
    bench.outcomes("well", 5)

    assert bench.outcomes(unwell) == [None]
    assert bench.trial.quiet == 0
    assert bench.outcomes("well", 6) == [None] * 5 + ["proven"]


def test_a_condition_that_is_not_so_starts_the_quiet_time_anew() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS})
    for _ in range(5):
        assert bench.observe("well", that={"x": True}) is None
    assert bench.observe("well", that={"x": False}) is None

    assert bench.trial.quiet == 0


def test_what_is_unknown_pauses_the_quiet_time() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS})
    bench.outcomes("well", 4)  # 3 s quiet

    assert bench.outcomes("nodata", 60) == [None] * 60
    assert bench.observe("well", that={"x": None}) is None
    assert bench.trial.reason == "x: nothing to tell by"
    assert bench.trial.quiet == 3_000
    assert bench.outcomes("well", 3) == [None, None, "proven"]


def test_unwell_beside_unknown_is_unwell() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS})
    bench.outcomes("well", 4)
    bench.observe("between", that={"x": None})

    assert bench.trial.quiet == 0
    assert bench.trial.reason == "r: it is between; x: nothing to tell by"


def test_a_condition_that_cannot_be_told_never_proves() -> None:
    bench = TrialHarness({KEY: SLOW_TERMS}, quiet=0)

    assert {bench.observe("well", that={"x": None}) for _ in range(100)} == {None}


@ANY
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.sampled_from([True, True, False, None]), st.integers(0, 20)), max_size=40
    ),
    st.integers(0, 60),
    TERMS,
)
def test_proof_is_quiet_time_and_disproof_is_a_bad_look(
    history: list[tuple[Kind, bool | None, Millis]], quiet: Millis, terms: MachineConfig
) -> None:
    """An independent count: time between two looks counts when all was well at both of them."""
    bench, counted, was_well = TrialHarness({KEY: terms}, quiet=quiet), 0, False
    for what, condition, after in history:
        found = bench.observe(what, after, {"x": condition})
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
    trial = ProofState(since=T0, last=T0)
    kept = replace(trial)

    prove(trial, {KEY: SLOW_TERMS}, [make_verdict("well", T0 + 1)], {}, 0, T0 + 1)

    assert trial == kept
    assert trial.machines == {}


# ─ a source that flaps ─

MAX_AGE: Millis = 1_500


def looks_until(kind: str, terms: MachineConfig, start: MachineState, good_every: int) -> Millis | None:
    """After how many ms it trips or clears, of reads every 500 ms of which one in `good_every` works; None: not within a minute."""
    machine = start
    for i in range(120):
        now = T0 + 500 * i
        verdict = make_verdict(kind if i % good_every == 0 else "nodata", now)._replace(max_age=MAX_AGE)  # type: ignore[arg-type]
        machine, changes = advance(machine, verdict, terms, now)
        if any(change.kind in ("tripped", "cleared") for change in changes):
            return now - T0
    return None


@pytest.mark.parametrize(("good_every", "fires_after"), [(1, 5_000), (2, 5_000), (3, 6_000), (4, None)])
def test_time_between_two_bad_reads_counts_while_they_are_believed(good_every: int, fires_after: int | None) -> None:
    terms = MachineConfig(FakePatience(duration=5_000))

    assert looks_until("bad", terms, MachineState(since=T0, last=T0), good_every) == fires_after


@pytest.mark.parametrize(("good_every", "clears_after"), [(1, 5_000), (2, 5_000), (3, 6_000), (4, None)])
def test_so_does_time_between_two_good_ones(good_every: int, clears_after: int | None) -> None:
    terms = MachineConfig(FakePatience(), clear_for=5_000)
    firing = MachineState("firing", since=T0, last=T0, outcome="bad")

    assert looks_until("well", terms, firing, good_every) == clears_after


def test_a_good_read_between_two_failed_ones_starts_the_time_anew() -> None:
    terms, machine = MachineConfig(FakePatience(duration=2_500)), MachineState(since=T0, last=T0)
    kinds: list[Kind] = [
        "bad",
        "nodata",
        "bad",
        "nodata",
        "well",
        "nodata",
        "bad",
        "nodata",
        "bad",
        "nodata",
        "bad",
        "nodata",
    ]
    for i, kind in enumerate(kinds):
        machine, changes = advance(
            machine, make_verdict(kind, T0 + 500 * i)._replace(max_age=MAX_AGE), terms, T0 + 500 * i
        )
        assert [change.kind for change in changes] in ([], ["dropped"])


def test_nobody_watched_over_a_restart_however_short() -> None:
    terms, machine = MachineConfig(FakePatience(duration=1_000)), MachineState(since=T0, last=T0)
    machine, _ = advance(machine, make_verdict("bad", T0)._replace(max_age=60_000), terms, T0)
    machine, _ = advance(machine, make_verdict("nodata", 0), terms, T0 + 500)
    machine = skip_gap(machine, T0 + 20_000)

    machine, changes = advance(machine, make_verdict("bad", T0 + 20_500)._replace(max_age=60_000), terms, T0 + 20_500)

    assert (machine.held, changes) == (0, [])


def test_quiet_time_is_proven_by_a_source_that_flaps() -> None:
    trial, terms = ProofState(since=T0, last=T0), {KEY: SLOW_TERMS}
    for i in range(40):
        now = T0 + 500 * i
        verdict = make_verdict("well" if i % 2 else "nodata", now)._replace(max_age=MAX_AGE)
        trial, finding = prove(trial, terms, [verdict], {}, 5_000, now)
        if finding is not None:
            break

    assert (finding and finding.outcome, now - T0) == ("proven", 5_500)
