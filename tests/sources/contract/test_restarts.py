"""Whatever comes in between, reads that fail, reads that are not kept, restarts, kill -9: each increment counts once."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sources.contract.counting import COUNTED, COUNTS_NOTHING, Counted
from tests.sources.contract.environment import NOW, PULLED, PUSHED, Environment, make_pushed, make_source
from tests.sources.contract.sound import Deliveries
from tests.support.ports import free_port
from tests.support.property_settings import examples
from tests.support.senders import TOKEN
from watchdog.core.errors import SourceError
from watchdog.core.protocols import SourceCache, SourceState

ACTS = ("happen", "happen", "happen", "disturb", "read", "read", "not kept", "fails", "restart")


def test_every_source_that_counts_is_tried_here() -> None:
    assert set(COUNTED) | COUNTS_NOTHING == set(PULLED)
    assert set(CALLED) | {"push"} == set(PUSHED), "what is pushed is the bot's to count"


class Watch:
    """What a daemon keeps of one source: samples, and the state that stands for them."""

    def __init__(self, kind: str, world: Counted) -> None:
        self.world, self.source = world, make_source(kind, world.fields)
        self.state, self.cache, self.now = "{}", SourceCache(), NOW
        self.samples: dict[tuple[str, Any], list[tuple[int, float]]] = {}

    def read(self, *, keep: bool = True) -> None:
        state: SourceState = json.loads(self.state)
        found = list(self.source.read(state, self.cache, self.now))
        if not keep:
            return
        self.state = json.dumps(state, allow_nan=False)
        for name, labels, t, value in found:
            if name in self.world.metrics:
                kept = self.samples.setdefault((name, labels), [])
                if not kept or t > kept[-1][0]:
                    kept.append((t, value))
        self.world.was_read()

    def fail(self) -> None:
        """The far end is not to be had for a moment: nothing of it may stay."""
        state: SourceState = json.loads(self.state)
        before = json.dumps(state)
        broken = {"url": "http://127.0.0.1:1/"} if "url" in self.world.fields else {}
        for key in ("files", "pid_file"):
            if key in self.world.fields:
                broken[key] = "/proc/nothing/bot.log" if key == "files" else "/proc/self/fd"
        source = self.source.model_copy(update=broken)  # type: ignore[attr-defined]
        with pytest.raises(SourceError):
            list(source.read(state, self.cache, self.now))
        assert json.dumps(state) == before

    def restart(self) -> None:
        self.cache = SourceCache()

    @property
    def increase(self) -> float:
        """As PromQL has it, from the first sample on."""
        total = 0.0
        for kept in self.samples.values():
            for (_, before), (_, after) in itertools.pairwise(kept):
                total += after - before if after >= before else after
        return total

    def do(self, act: str) -> None:
        self.now += 1_000
        match act:
            case "happen":
                self.world.happen(self.now - 500)
            case "disturb":
                self.world.disturb(self.now - 500)
            case "read":
                self.read()
            case "not kept":
                self.read(keep=False)
            case "fails":
                self.fail()
            case _:
                self.restart()


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTED)
def test_in_any_order_of_events_reads_failures_and_restarts_each_counts_once(
    kind: str, environment: Environment
) -> None:
    numbers = itertools.count()
    folder = environment.folder

    @settings(max_examples=examples(120), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.sampled_from(ACTS), min_size=4, max_size=25))
    def run(acts: list[str]) -> None:
        environment.folder = folder / str(next(numbers))
        environment.folder.mkdir()
        world: Counted = COUNTED[kind](environment)
        try:
            watch = Watch(kind, world)
            watch.do("read")
            for act in acts:
                watch.do(act)
                assert watch.increase == world.seen, (act, watch.samples)
            watch.do("read")
            assert watch.increase == world.seen
        finally:
            world.close()

    run()


# ─ those that are told ─


def _statsd(_: Environment) -> tuple[dict[str, Any], Callable[[], None]]:
    fields = {"listen": f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}", "every": "50ms"}

    def call() -> None:
        host, _, port = fields["listen"].rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"events:1|c", (host, int(port)))

    return fields, call


def _heartbeat(world: Environment) -> tuple[dict[str, Any], Callable[[], None]]:
    def call() -> None:
        assert world.web.ask("GET", f"/heartbeat/bot/{TOKEN}/log")[0] == 200

    return {"token_file": str(world.web.token_file), "every": "1h"}, call


CALLED = {
    "statsd": (_statsd, "events", ()),
    "heartbeat": (_heartbeat, "heartbeat_calls_total", (("kind", "log"),)),
}


def _count(deliveries: Deliveries, name: str, labels: Any) -> float:
    found = [each.v for samples, _ in deliveries.made[-1:] for each in samples if each[:2] == (name, labels)]
    return found[-1] if found else 0.0


@pytest.mark.parametrize("kind", CALLED)
def test_a_count_of_what_was_told_goes_on_from_what_was_kept(kind: str, environment: Environment) -> None:
    """`close`: in good order, and all that was told is in the state. `kill -9`: all that was delivered is, and nothing more."""
    make, name, labels = CALLED[kind]
    fields, call = make(environment)
    source = make_pushed(kind, fields)

    @settings(max_examples=examples(24), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=5))
    def run(lives: list[tuple[int, bool]]) -> None:
        state, told, now = SourceState(), 0.0, itertools.count(NOW, 1_000)
        for calls, in_good_order in lives:
            heard = Deliveries()
            receiver = source.receive("bot", state, heard, lambda: next(now))
            try:
                for _ in range(calls):
                    call()
                if not in_good_order and calls:  # the daemon has kept all that was delivered when it is killed
                    want = told + calls
                    heard.wait_until(lambda heard=heard, want=want: _count(heard, name, labels) == want)  # type: ignore[misc]
            finally:
                receiver.close()
            told += calls
            if heard.made:
                state = heard.made[-1][1]
                if calls:
                    assert _count(heard, name, labels) == told

    run()
