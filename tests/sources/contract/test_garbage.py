"""Whatever bytes a source is told: sound samples or one line of error, in time, and well again once it is told what is well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sources.contract.environment import (
    NOW,
    PULLED,
    PUSHED,
    TYPES,
    Environment,
    make_pushed,
    make_source,
)
from tests.sources.contract.garbage import GARBAGE, HOSTILE, FarEnd
from tests.sources.contract.sound import Deliveries, check_series
from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.core.protocols import PulledSource, SourceCache, SourceState
from watchdog.sources.series_limits import SeriesLimiter

_SLACK = 2.0
"""s past its deadline after which the daemon waits for a read no longer."""
_LONGEST_ERROR = 1_000


def test_every_source_is_told_nonsense() -> None:
    assert {way.partition(" ")[0] for way in GARBAGE} == set(TYPES)


def ways_of(kinds: list[str]) -> list[str]:
    return [way for way, make in GARBAGE.items() if make is not None and way.partition(" ")[0] in kinds]


def far_end(way: str, environment: Environment) -> FarEnd:
    make = GARBAGE[way]
    assert make is not None
    return make(environment)


class Reads:
    """A source that is read again and again, as the daemon does."""

    def __init__(self, source: PulledSource) -> None:
        self.source, self.state, self.cache, self.now = source, SourceState(), SourceCache(), NOW
        self.limiter = SeriesLimiter.of(source, lambda _: 0)

    def read(self) -> str | None:
        """What was wrong; None: it delivered."""
        self.now += 1_000
        state, begun = json.loads(json.dumps(self.state)), time.monotonic()
        try:
            admitted, _ = self.limiter.admit(self.source.read(state, self.cache, self.now), self.now)
        except SourceError as error:
            text = str(error)
            assert text.isprintable(), text
            assert " — " in text, text
            assert len(text) <= _LONGEST_ERROR, text
            return text
        finally:
            assert time.monotonic() - begun < self.source.deadline / 1_000 + _SLACK
        check_series(admitted)
        self.state = json.loads(json.dumps(state, allow_nan=False))
        return None


@pytest.mark.slow
@pytest.mark.parametrize("way", ways_of(PULLED))
def test_nonsense_is_an_error_or_sound_samples_and_never_the_end(way: str, environment: Environment) -> None:
    end = far_end(way, environment)
    reads = Reads(make_source(way.partition(" ")[0], end.fields))
    for data in HOSTILE.values():
        end.say(data)
        reads.read()
        for _ in range(3):  # what was appended is all read first, and a login rests
            reads.now += 60_000
            end.say(end.well)
            problem = reads.read()
            if problem is None:
                break
        assert way in _WELL_IS_NOTHING or problem is None


_WELL_IS_NOTHING = {"sql", "scrape packed"}
"""Ways of which the table has no good answer in bytes."""


def _bytes_like(well: bytes) -> st.SearchStrategy[bytes]:
    """Anything, and what is well with a few bytes of it otherwise."""

    def change(places: list[tuple[int, bytes]]) -> bytes:
        data = bytearray(well)
        for place, piece in places:
            at = place % (len(data) + 1)
            data[at : at + len(piece) // 2] = piece
        return bytes(data)

    odd = st.binary(max_size=6) | st.sampled_from([b"\n", b'"', b"{", b"}", b"\\", b"\0", b"1e9", b"-", b"=", b"|"])
    return st.binary(max_size=300) | st.lists(st.tuples(st.integers(0, 5_000), odd), max_size=4).map(change)


def try_any(end: FarEnd, tell: Callable[[bytes], object], number: int) -> None:
    @settings(max_examples=examples(number), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(_bytes_like(end.well))
    def run(data: bytes) -> None:
        tell(data)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("way", ways_of(PULLED))
def test_whatever_it_is_told_it_is_an_error_or_sound_samples(way: str, environment: Environment) -> None:
    end = far_end(way, environment)
    reads = Reads(make_source(way.partition(" ")[0], end.fields))

    def tell(data: bytes) -> None:
        end.say(data)
        reads.read()

    try_any(end, tell, 90)


@pytest.mark.slow
@pytest.mark.parametrize("way", ways_of(PUSHED))
def test_nonsense_that_is_sent_is_refused_or_delivered_as_sound_samples(way: str, environment: Environment) -> None:
    end, heard = far_end(way, environment), Deliveries()
    source = make_pushed(way.partition(" ")[0], end.fields)
    limiter = SeriesLimiter.of(source, lambda _: 0)
    now = NOW

    def clock() -> int:
        nonlocal now
        now += 1_000
        return now

    receiver = source.receive("bot", {}, heard, clock)
    try:
        for data in HOSTILE.values():
            end.say(data)
        try_any(end, end.say, 30)
        before = len(heard.made)
        end.say(end.well)
        heard.wait_for_more_than(before)
    finally:
        receiver.close()

    for samples, _ in heard.made:
        check_series(limiter.admit(samples, NOW)[0])
