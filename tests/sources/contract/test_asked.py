"""What every source that is asked keeps."""

from __future__ import annotations

import json
import time

import psutil
import pytest
from pydantic import ValidationError

from tests.sources.contract.environment import NOW, PULLED, Environment, make_source
from tests.sources.contract.sound import check_samples
from tests.sources.contract.tables import BROKEN, HUNG, WORKING
from watchdog.core.errors import SourceError
from watchdog.core.protocols import PulledSource, PushedSource, SourceCache, SourceState


@pytest.mark.parametrize("kind", PULLED)
def test_samples_are_well_formed(kind: str, environment: Environment) -> None:
    part, state, cache = make_source(kind, WORKING[kind](environment)), SourceState(), SourceCache()
    for now in (NOW, NOW + 1_000):
        check_samples(part.read(state, cache, now), now)


@pytest.mark.parametrize("kind", PULLED)
def test_what_cannot_be_read_is_a_source_error_with_a_cure_and_no_cause_behind_it(
    kind: str, environment: Environment
) -> None:
    part = make_source(kind, BROKEN[kind](environment))

    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        list(part.read({}, {}, NOW))

    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", [kind for kind in PULLED if HUNG.get(kind)])
def test_a_read_that_hangs_ends_by_itself(kind: str, environment: Environment) -> None:
    make = HUNG[kind]
    assert make

    with pytest.raises(SourceError, match="within"):
        list(make_source(kind, make(environment)).read({}, {}, NOW))


@pytest.mark.parametrize("kind", PULLED)
def test_a_source_is_frozen_and_remembers_nothing_itself(kind: str, environment: Environment) -> None:
    part = make_source(kind, WORKING[kind](environment))
    before = repr(part)
    list(part.read({}, {}, NOW))

    assert repr(part) == before
    with pytest.raises(ValidationError, match="frozen"):
        part.every = 5  # type: ignore[misc]


def read_twice(kind: str, environment: Environment, *, state_between: bool, cache_between: bool) -> set[str]:
    """Names of what the second read brings; between the two, what is not kept is thrown away."""
    source, state, cache = make_source(kind, WORKING[kind](environment)), SourceState(), SourceCache()
    list(source.read(state, cache, NOW))
    state = json.loads(json.dumps(state, allow_nan=False)) if state_between else {}
    return {each.name for each in source.read(state, cache if cache_between else {}, NOW + 1_000)}


@pytest.mark.parametrize("kind", PULLED)
def test_a_source_says_what_its_daemon_needs_to_know(kind: str, environment: Environment) -> None:
    source = make_source(kind, WORKING[kind](environment))

    assert isinstance(source, PulledSource)
    assert not isinstance(source, PushedSource)
    assert source.every >= 50
    assert source.deadline >= 50
    assert source.identity
    assert source.reads_needed in (1, 2)


@pytest.mark.parametrize("kind", PULLED)
def test_the_state_is_json_and_goes_on_from_there(kind: str, environment: Environment) -> None:
    source, cache = make_source(kind, WORKING[kind](environment)), SourceCache()
    states = []
    state = SourceState()
    for number in range(3):
        list(source.read(state, cache, NOW + number * 1_000))
        states.append(json.dumps(state, allow_nan=False))
        state = json.loads(states[-1])

    assert states[1] == states[2], "nothing has happened in between"


@pytest.mark.parametrize("kind", PULLED)
def test_the_cache_may_be_thrown_away_between_any_two_reads(kind: str, environment: Environment) -> None:
    lasting = read_twice(kind, environment, state_between=True, cache_between=True)
    without_cache = read_twice(kind, environment, state_between=True, cache_between=False)

    assert without_cache
    assert lasting - without_cache <= {"process_cpu_ratio", "host_cpu_ratio"}  # differences, which need two reads
    assert read_twice(kind, environment, state_between=False, cache_between=True)


def wait_for_kernel_tick() -> None:
    """Between two reads the kernel's figures move on, as they do in the 50 ms that lie between them at least."""
    before = sum(psutil.cpu_times())
    deadline = time.monotonic() + 10
    while sum(psutil.cpu_times()) == before:
        assert time.monotonic() < deadline, "the kernel's figures stand still"


@pytest.mark.parametrize("kind", PULLED)
def test_after_as_many_reads_as_it_needs_all_its_series_are_there(kind: str, environment: Environment) -> None:
    source, state, cache = make_source(kind, WORKING[kind](environment)), SourceState(), SourceCache()
    reads = []
    for number in range(3):
        reads.append({each.name for each in source.read(state, cache, NOW + number * 1_000)})
        wait_for_kernel_tick()

    assert set().union(*reads[: source.reads_needed]) == set().union(*reads)


@pytest.mark.parametrize("kind", PULLED)
def test_a_read_that_fails_leaves_the_state_as_it_was(kind: str, environment: Environment) -> None:
    state, cache = SourceState(), SourceCache()
    list(make_source(kind, WORKING[kind](environment)).read(state, cache, NOW))
    before = json.dumps(state)

    with pytest.raises(SourceError):
        list(make_source(kind, BROKEN[kind](environment)).read(state, cache, NOW + 1_000))

    assert json.dumps(state) == before


@pytest.mark.parametrize("kind", PULLED)
def test_a_misspelt_key_is_refused(kind: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make_source(kind, {**WORKING[kind](environment), "evry": "1s"})
