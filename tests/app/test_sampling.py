"""Sources at work: what they remember, what a hung one costs, and what becomes of them at a reload."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.sources import LONG_TIMEOUT, CallableSource, FakePush, FakeReceiver, LineCounter
from watchdog.app import sampling
from watchdog.app.sampling import Sampler
from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import Source, SourceCache, SourceState
from watchdog.core.telemetry import Telemetry
from watchdog.sources.series_limits import Cut
from watchdog.tsdb.write_buffer import NO_STATES, StateSnapshot

NOW = 1_700_000_000_000


class SamplingHarness:
    """A sampler in a loop of its own; what it brings is written down."""

    def __init__(self, restored: Mapping[str, StateSnapshot] = NO_STATES) -> None:
        self.samples: list[tuple[str, float]] = []
        self.downs: list[str] = []
        self.cuts: list[tuple[str, Cut]] = []
        self.judged: list[str] = []
        self.telemetry = Telemetry("test")
        self.sampler = Sampler(self, self.telemetry, lambda: NOW, self._judge, restored)
        self._changed = asyncio.Event()

    def add_samples(self, source: str, samples: Sequence[Sample], now: Millis) -> None:
        assert now == NOW
        self.samples += [(source, sample.v) for sample in samples]

    def mark_source_down(self, source: str, now: Millis, reason: str = "") -> None:
        assert now == NOW
        self.downs.append(source)

    def note_cut(self, source: str, cut: Cut | None, now: Millis) -> None:
        assert now == NOW
        self.cuts += [(source, cut)] if cut is not None else []

    async def _judge(self, source: str) -> None:
        self.judged.append(source)
        self._changed.set()

    def values(self, source: str) -> list[float]:
        return [value for name, value in self.samples if name == source]

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for something that a source brings about."""
        async with asyncio.timeout(LONG_TIMEOUT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def run(
    test: Callable[[SamplingHarness], Awaitable[None]], restored: Mapping[str, StateSnapshot] = NO_STATES
) -> SamplingHarness:
    async def main() -> SamplingHarness:
        harness = SamplingHarness(restored)
        try:
            await test(harness)
        finally:
            await harness.sampler.stop()
            harness.sampler.close()
        return harness

    return asyncio.run(main())


async def wait_for(event: threading.Event) -> None:
    """Without holding up the loop, and without a thread that the test's end would wait for."""
    async with asyncio.timeout(LONG_TIMEOUT):
        while not event.is_set():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_DEADLINE_SLACK", 0.001)


class Hang:
    """Reads that hang until they are let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.started = threading.Semaphore(0)

    def __call__(self, *_: object) -> list[Sample]:
        self.started.release()
        assert self.release.wait(LONG_TIMEOUT)
        return []

    async def all_started(self, count: int) -> None:
        async with asyncio.timeout(LONG_TIMEOUT):
            for _ in range(count):
                while not self.started.acquire(blocking=False):
                    await asyncio.sleep(0.001)


@pytest.fixture
def hang() -> Iterator[Hang]:
    one = Hang()
    yield one
    one.release.set()


def counting(state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
    state["n"] = state.get("n", 0) + 1
    cache["n"] = cache.get("n", 0) + 1
    return [Sample("n", (), now, float(state["n"] * 100 + cache["n"]))]


# ─ one does not cost the others ─


def test_forty_hung_sources_cost_forty_threads_and_no_sample_of_a_healthy_one(hang: Hang) -> None:
    async def test(harness: SamplingHarness) -> None:
        hung = {f"hung-{n}": CallableSource(hang, deadline=20) for n in range(40)}
        threads_before = set(threading.enumerate())
        harness.sampler.apply({**hung, "well": CallableSource(counting)})
        await hang.all_started(40)
        before = len(harness.values("well"))
        await harness.until(lambda: len(harness.values("well")) >= before + 3)
        await harness.until(lambda: set(hung) <= set(harness.downs))

        errors = harness.sampler.errors()
        assert errors["well"] is None
        assert all(errors[name] in ("no answer within 0.021 s", "the last read still hangs") for name in hung)
        begun = set(threading.enumerate()) - threads_before
        assert 40 <= sum(thread.name.startswith("sampling") for thread in begun) <= 41
        hang.release.set()

    run(test)


def test_a_mistake_in_one_source_is_told_and_takes_no_other_along(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> list[Sample]:
        raise KeyError("oops")

    def forgetful(state: SourceState, *_: object) -> list[Sample]:
        state["when"] = object()
        return []

    async def test(harness: SamplingHarness) -> None:
        sources = {"a": CallableSource(broken), "b": CallableSource(forgetful), "c": CallableSource(counting)}
        harness.sampler.apply(sources)
        await harness.until(lambda: {"a", "b"} <= set(harness.downs) and len(harness.values("c")) > 2)

        assert harness.sampler.errors()["a"] == "internal error: KeyError('oops')"
        assert "not JSON serializable" in str(harness.sampler.errors()["b"])
        assert harness.sampler.states().keys() == {"c"}

    run(test)
    assert "Traceback" in caplog.text


# ─ what a source remembers ─


def test_what_is_read_goes_on_from_the_state_and_the_cache_of_the_read_before() -> None:
    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(counting)})
        await harness.until(lambda: len(harness.samples) >= 3)

        assert harness.values("bot")[:3] == [101, 202, 303]
        count = len(harness.samples)
        assert harness.sampler.states() == {"bot": StateSnapshot("test", f'{{"n":{count}}}')}

    run(test)


def test_a_restored_state_is_handed_to_the_source_that_left_it_and_to_no_other() -> None:
    restored = {"bot": StateSnapshot("test", '{"n":7}'), "gone": StateSnapshot("test", '{"n":9}')}

    async def same(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(counting)})
        await harness.until(lambda: harness.samples)

    async def another(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(counting, identity="another file")})
        await harness.until(lambda: harness.samples)

    assert run(same, restored).values("bot")[0] == 801
    assert run(another, restored).values("bot")[0] == 101


@dataclass(frozen=True)
class TypedSource(CallableSource):
    type: str = "log"


def test_what_one_type_remembers_of_a_place_is_not_handed_to_another_type() -> None:
    async def test(harness: SamplingHarness) -> None:
        for kind in ("log", "jsonl"):
            harness.samples.clear()
            harness.sampler.apply({"bot": TypedSource(counting, type=kind, identity="/srv/bot.log")})
            await harness.until(lambda: harness.samples)

            assert harness.samples[0] == ("bot", 101.0)

    run(test)


def test_a_read_that_fails_leaves_the_state_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\nhal")

    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"log": LineCounter(log)})
        await harness.until(lambda: len(harness.downs) >= 3)
        assert harness.sampler.states() == {}
        assert harness.sampler.errors() == {"log": "half a line — it is being written"}
        with log.open("ab") as file:
            file.write(b"f\n")
        await harness.until(lambda: harness.samples)

        assert harness.values("log")[0] == 3
        assert harness.sampler.errors() == {"log": None}

    run(test)
    assert caplog.messages == ["source log: half a line — it is being written", "source log delivers again"]


def test_a_read_that_comes_too_late_counts_for_nothing(hang: Hang) -> None:
    def late_once(state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        found = counting(state, cache, now)
        if cache["n"] == 1:
            hang()
        return found

    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(late_once, deadline=20)})
        await harness.until(lambda: harness.sampler.errors().get("bot") == "the last read still hangs")
        assert harness.samples == []
        hang.release.set()
        await harness.until(lambda: harness.samples)

        assert harness.values("bot")[0] in range(102, 200)  # the state is new, the cache has seen a read or more

    run(test)


def test_a_source_that_remembers_nothing_has_no_state_and_one_that_forgets_has_an_empty_one() -> None:
    def forget(state: SourceState, *_: object) -> list[Sample]:
        state.clear()
        return []

    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"a": CallableSource(forget), "b": CallableSource(forget)})
        await harness.until(lambda: {"a", "b"} <= set(harness.judged))
        assert harness.sampler.states() == {"b": StateSnapshot("test", "{}")}

    run(test, {"b": StateSnapshot("test", '{"n":7}')})


def test_what_a_source_keeps_hold_of_is_not_what_is_saved() -> None:
    held: list[SourceState] = []

    def holding(state: SourceState, *_: object) -> list[Sample]:
        held.append(state)
        state["n"] = 1
        return []

    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(holding)})
        await harness.until(lambda: harness.judged)
        held[0]["n"] = 2

        assert harness.sampler.states()["bot"].text == '{"n":1}'

    run(test)


# ─ a reload ─


def test_a_source_that_stays_as_it_is_goes_on_undisturbed_and_another_begins_with_an_empty_cache() -> None:
    async def test(harness: SamplingHarness) -> None:
        kept, old = CallableSource(counting, every=20), CallableSource(counting, every=20)
        harness.sampler.apply({"kept": kept, "changed": old})
        await harness.until(lambda: harness.values("kept") and harness.values("changed"))
        harness.sampler.apply({"kept": CallableSource(counting, every=20), "changed": CallableSource(counting)})
        counts = {name: len(harness.values(name)) for name in ("kept", "changed")}
        await harness.until(lambda: all(len(harness.values(name)) > n + 1 for name, n in counts.items()))

        steps = {name: harness.values(name)[n] - 100 * (n + 1) for name, n in counts.items()}
        assert steps == {"kept": counts["kept"] + 1, "changed": 1}  # the state goes on in both

    run(test)


def test_what_is_taken_away_is_silent_and_goes_on_when_it_comes_back(hang: Hang) -> None:
    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(counting), "slow": CallableSource(hang)})
        await harness.until(lambda: harness.samples)
        await hang.all_started(1)
        harness.sampler.apply({})
        hang.release.set()
        count = len(harness.samples)
        await asyncio.sleep(0)
        assert harness.sampler.errors() == {}
        assert harness.sampler.states() == {"bot": StateSnapshot("test", f'{{"n":{count}}}')}
        harness.sampler.apply({"bot": CallableSource(counting)})
        await harness.until(lambda: len(harness.samples) > count)

        assert harness.values("bot")[count] == (count + 1) * 100 + 1
        assert "slow" not in harness.judged

    run(test)


# ─ sources that are told ─


async def opened(push: FakePush, count: int = 1) -> FakeReceiver:
    async with asyncio.timeout(LONG_TIMEOUT):
        while len(push.opened) < count:
            await asyncio.sleep(0.001)
    return push.opened[count - 1]


def test_what_is_pushed_from_any_thread_is_judged_on_arrival_with_the_state_that_stands_for_it() -> None:
    async def test(harness: SamplingHarness) -> None:
        push = FakePush()
        harness.sampler.apply({"push": push})
        receiver = await opened(push)
        assert receiver.state == {"seen": 4}
        senders = [threading.Thread(target=receiver.send, args=(float(n),), kwargs={"seen": n}) for n in range(5)]
        for sender in senders:
            sender.start()
            sender.join()
        await harness.until(lambda: len(harness.samples) == 5)

        assert harness.values("push") == [0, 1, 2, 3, 4]
        assert harness.judged == ["push"] * 5
        assert harness.sampler.states() == {"push": StateSnapshot("test", '{"seen":4}')}
        assert harness.sampler.errors() == {"push": None}

    harness = run(test, {"push": StateSnapshot("test", '{"seen":4}')})
    assert harness.downs == []


@dataclass(frozen=True)
class LimitedPush(FakePush):
    keep: tuple[str, ...] = ("pushed",)
    max_series: int = 1


def test_what_an_entry_keeps_and_how_much_holds_for_a_source_that_is_told_too() -> None:
    async def test(harness: SamplingHarness) -> None:
        push = LimitedPush()
        harness.sampler.apply({"push": push})
        receiver = await opened(push)
        receiver.deliver([Sample(name, (), NOW, 1.0) for name in ("other", "pushed")], {})
        await harness.until(lambda: harness.judged)

        assert (harness.samples, harness.cuts) == ([("push", 1.0)], [])
        receiver.deliver([Sample("pushed", (("n", n),), NOW, 2.0) for n in "ab"], {})
        await harness.until(lambda: harness.cuts)
        (cut,) = (cut for _, cut in harness.cuts)

        assert cut.metrics == {"pushed"}
        assert "max_series" in cut.text

    run(test)


def test_how_long_a_delivery_waited_is_the_duration_of_a_source_that_is_told() -> None:
    async def test(harness: SamplingHarness) -> None:
        push = FakePush()
        harness.sampler.apply({"push": push})
        (await opened(push)).send(1)
        await harness.until(lambda: harness.judged)

        waited = harness.telemetry.registry.get_sample_value("watchdog_source_duration_seconds", {"source": "push"})
        assert waited is not None
        assert 0 <= waited < LONG_TIMEOUT

    run(test)


def test_a_read_that_the_clock_was_set_under_counts_for_nothing_and_all_are_asked_anew(hang: Hang) -> None:
    async def test(harness: SamplingHarness) -> None:
        push = FakePush()

        def slow(state: SourceState, cache: SourceCache, now: Millis) -> Sequence[Sample]:
            return [*counting(state, cache, now), *hang()]

        seldom = CallableSource(counting, every=3_600_000)
        harness.sampler.apply({"slow": CallableSource(slow), "seldom": seldom, "push": push})
        await hang.all_started(1)
        receiver = await opened(push)
        await harness.until(lambda: len(harness.values("seldom")) == 1)
        harness.sampler.begin_anew(-7_200_000, 0.0)
        hang.release.set()
        await harness.until(lambda: len(harness.values("seldom")) == 2)  # not in an hour
        await harness.until(lambda: harness.values("slow"))

        assert receiver.steps == [-7_200_000]
        assert harness.values("slow")[0] // 100 == 1  # what the read that was dropped had counted is read again
        assert harness.downs == []

    run(test)


def test_after_a_sleep_nobody_is_asked_before_it_is_awake() -> None:
    async def test(harness: SamplingHarness) -> None:
        harness.sampler.apply({"bot": CallableSource(counting)})
        await harness.until(lambda: len(harness.values("bot")) > 2)
        loop = asyncio.get_running_loop()
        harness.sampler.notice_disruption = lambda: noticed.append(loop.time())
        noticed: list[float] = []
        harness.sampler.begin_anew(0, 0.4)
        awake, known = loop.time() + 0.4, len(harness.values("bot"))
        await harness.until(lambda: len(harness.values("bot")) > known)
        assert loop.time() >= awake
        assert noticed  # somebody looks ahead of every read

    run(test)


def test_a_receiver_that_hears_nothing_for_its_deadline_is_down_until_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seconds = [0.0]
    monkeypatch.setattr(sampling, "time", SimpleNamespace(monotonic=lambda: seconds[0]))

    async def test(harness: SamplingHarness) -> None:
        push = FakePush(deadline=30)
        harness.sampler.apply({"push": push})
        receiver = await opened(push)
        assert harness.sampler.errors() == {}  # nothing is known yet
        seconds[0] = 0.03
        await harness.until(lambda: len(harness.downs) >= 2)
        assert harness.sampler.errors() == {"push": "nothing was received within 0.03 s"}
        receiver.send(1.0)
        await harness.until(lambda: harness.samples)
        assert harness.sampler.errors() == {"push": None}

    run(test)
    assert caplog.messages == ["source push: nothing was received within 0.03 s", "source push delivers again"]


def test_a_receiver_that_cannot_be_opened_is_down_and_tried_again() -> None:
    tries = []

    def taken() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise SourceError("port 8125 is taken — is another program there?")

    async def test(harness: SamplingHarness) -> None:
        push = FakePush(on_open=taken)
        harness.sampler.apply({"push": push})
        await harness.until(lambda: harness.downs)
        assert harness.sampler.errors() == {"push": "port 8125 is taken — is another program there?"}
        (await opened(push)).send(1.0)
        await harness.until(lambda: harness.samples)

    harness = run(test)
    assert harness.downs == ["push", "push"]


def test_another_receiver_is_opened_when_the_one_before_is_closed_and_goes_on_from_what_that_one_said_last() -> None:
    async def test(harness: SamplingHarness) -> None:
        old = FakePush(every=10, on_close=lambda: before.send(2.5, n=3))
        seen: list[bool] = []
        new = FakePush(every=20, on_open=lambda: seen.append(old.opened[0].closed.is_set()))
        harness.sampler.apply({"push": old})
        before = await opened(old)
        before.send(1.0, n=1)
        await harness.until(lambda: harness.samples)
        harness.sampler.apply({"push": new})
        before.send(2.0, n=2)
        after = await opened(new)
        before.send(9.0, n=9)  # after its end
        after.send(3.0, n=4)
        await harness.until(lambda: len(harness.samples) == 4)

        assert after.state == {"n": 3}
        assert seen == [True]

    harness = run(test)
    assert harness.values("push") == [1, 2, 2.5, 3]
    assert harness.sampler.states() == {"push": StateSnapshot("test", '{"n":4}')}


@pytest.mark.parametrize("late", [False, True])
def test_what_is_delivered_before_the_end_is_kept_and_of_a_source_that_is_taken_away_only_its_state(
    hang: Hang, late: bool
) -> None:
    """Also when that is still being closed at our own end."""

    def closing() -> None:
        if late:
            hang()
        gone.opened[0].send(1.0, n=1)

    gone = FakePush(on_close=closing)

    async def test(harness: SamplingHarness) -> None:
        last = FakePush(on_close=lambda: last.opened[0].send(2.0, n=2))
        harness.sampler.apply({"gone": gone, "last": last})
        await opened(gone)
        (await opened(last)).send(1.0, n=1)
        harness.sampler.apply({"last": last})
        if late:
            await hang.all_started(1)
            asyncio.get_running_loop().call_soon(hang.release.set)  # the end comes first
        else:
            await wait_for(gone.opened[0].closed)

    harness = run(test)
    assert harness.samples == [("last", 1.0), ("last", 2.0)]
    assert harness.sampler.states() == {
        "gone": StateSnapshot("test", '{"n":1}'),
        "last": StateSnapshot("test", '{"n":2}'),
    }


@pytest.mark.slow
def test_a_flood_of_deliveries_costs_no_memory_no_count_and_nobody_else_s_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(harness: SamplingHarness) -> None:
        push = FakePush()
        harness.sampler.apply({"push": push, "bot": CallableSource(counting)})
        receiver = await opened(push)
        await harness.until(lambda: harness.values("bot"))
        for n in range(100_000):  # while the loop has no turn
            receiver.send(float(n), seen=n)
        count = len(harness.values("bot"))
        await harness.until(lambda: harness.values("push"))
        assert len(harness.values("push")) == 1  # a turn each
        await harness.until(lambda: harness.values("push")[-1] == 99_999)
        await harness.until(lambda: len(harness.values("bot")) > count)

        assert len(harness.values("push")) == 256
        assert harness.sampler.states()["push"].text == '{"seen":99999}'

    run(test)
    assert caplog.messages == ["source push delivers faster than it can be judged: some were passed over"]


def test_a_receiver_that_never_ceases_to_deliver_does_not_hold_up_the_end(hang: Hang) -> None:
    over = threading.Event()

    async def test(harness: SamplingHarness) -> None:
        push = FakePush(on_close=hang)
        harness.sampler.apply({"push": push})
        receiver = await opened(push)

        def flood() -> None:
            while not over.is_set():
                receiver.send(1.0)

        threading.Thread(target=flood, daemon=True).start()
        await harness.until(lambda: harness.values("push"))
        harness.sampler.apply({})
        await hang.all_started(1)
        over.set()
        hang.release.set()

    run(test)


@pytest.mark.parametrize("pushes", [False, True])
def test_samples_that_cannot_be_kept_cost_the_source_and_no_other(
    pushes: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(harness: SamplingHarness) -> None:
        keep = harness.add_samples

        def add_samples(source: str, samples: Sequence[Sample], now: Millis) -> None:
            if any(sample.v < 0 for sample in samples):
                raise TypeError("no number")
            keep(source, samples, now)

        monkeypatch.setattr(harness, "add_samples", add_samples)
        push, value = FakePush(), [-1.0]
        pull = CallableSource(lambda *_: [Sample("n", (), NOW, value[0])])
        harness.sampler.apply({"odd": push if pushes else pull})
        if pushes:
            (await opened(push)).send(-1.0, n=1)
        await harness.until(lambda: "odd" in harness.judged)
        assert harness.sampler.errors() == {"odd": "internal error: TypeError('no number')"}
        assert harness.sampler.states() == {}
        value[0] = 1.0
        if pushes:
            push.opened[0].send(1.0, n=2)
        await harness.until(lambda: harness.values("odd"))
        assert harness.sampler.errors() == {"odd": None}

    run(test)


def test_a_receiver_that_hangs_in_its_closing_delays_its_successor_and_nobody_else(hang: Hang) -> None:
    async def test(harness: SamplingHarness) -> None:
        old, new = FakePush(every=10, on_close=hang), FakePush(every=20)
        harness.sampler.apply({"push": old, "bot": CallableSource(counting)})
        await opened(old)
        harness.sampler.apply({"push": new, "bot": CallableSource(counting)})
        await hang.all_started(1)
        count = len(harness.samples)
        await harness.until(lambda: len(harness.samples) > count + 2)
        assert new.opened == []
        hang.release.set()
        await opened(new)

        assert old.opened[0].closed.is_set()

    run(test)


def test_a_receiver_that_opens_when_nobody_wants_it_any_more_is_closed_at_once(
    hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_RECEIVER_TIMEOUT", 0.05)

    async def test(harness: SamplingHarness) -> None:
        push = FakePush(on_open=hang)
        harness.sampler.apply({"push": push})
        await hang.all_started(1)
        await harness.until(lambda: "push" in harness.downs)
        assert harness.sampler.errors() == {"push": "the receiver is not open after 0.05 s"}
        harness.sampler.apply({})
        hang.release.set()

        await wait_for((await opened(push)).closed)

    run(test)


def test_at_the_end_every_receiver_is_closed_and_deaf() -> None:
    pushes = [FakePush(), FakePush(), FakePush()]

    async def test(harness: SamplingHarness) -> None:
        sources: dict[str, Source] = {f"push-{n}": push for n, push in enumerate(pushes)}
        harness.sampler.apply(sources)
        for push in pushes:
            await opened(push)
        assert len(harness.sampler.tasks) == 3

    run(test)
    for push in pushes:
        assert push.opened[0].closed.is_set()
        push.opened[0].send(1.0)  # into a loop that has ended
