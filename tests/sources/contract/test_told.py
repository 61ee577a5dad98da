"""What every source that is told keeps."""

from __future__ import annotations

import threading

import pytest
from pydantic import ValidationError

from tests.sources.contract.environment import NOW, PUSHED, Environment, make_pushed
from tests.sources.contract.sound import Deliveries, check_samples
from tests.sources.contract.tables import BY_ITSELF, NOT_LISTENING, RECEIVING
from watchdog.core.errors import SourceError
from watchdog.core.protocols import PulledSource, SourceState


@pytest.mark.parametrize("kind", PUSHED)
def test_what_a_source_is_told_it_delivers_well_formed_with_a_state_from_which_another_goes_on(
    kind: str, environment: Environment
) -> None:
    make, send = RECEIVING[kind]
    fields, state, threads = make(environment), SourceState(), set(threading.enumerate())
    for now in (NOW, NOW + 1_000):  # the port, or whatever it is, is free again once it is closed
        deliveries = Deliveries()
        receiver = make_pushed(kind, fields).receive("bot", state, deliveries, lambda now=now: now)  # type: ignore[misc]
        for _ in range(BY_ITSELF.get(kind, 0)):
            deliveries.wait()
        send(environment, fields)
        samples, state = deliveries.wait()
        receiver.close()
        for t in {sample.t for sample in samples}:
            assert now - 1_000 <= t <= now + BY_ITSELF.get(kind, 0), "no two of a series are of one moment"
        newest = {sample[:2]: sample._replace(t=NOW) for sample in samples}  # a new counter was 0 before
        check_samples(newest.values(), NOW)

        assert len(deliveries.made) == 1 + BY_ITSELF.get(kind, 0), "closing delivers nothing"
    environment.web.close()
    left = set(threading.enumerate()) - threads
    for each in left:
        each.join(5)
    assert not [each for each in left if each.is_alive()]


@pytest.mark.parametrize("kind", PUSHED)
def test_a_source_that_cannot_listen_says_so_with_a_cure_and_no_cause_behind_it(
    kind: str, environment: Environment
) -> None:
    source = make_pushed(kind, NOT_LISTENING[kind](environment))

    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        source.receive("bot", {}, Deliveries(), lambda: NOW)

    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", PUSHED)
def test_a_source_that_is_told_says_what_its_daemon_needs_to_know(kind: str, environment: Environment) -> None:
    source = make_pushed(kind, RECEIVING[kind][0](environment))

    assert not isinstance(source, PulledSource)
    assert source.every >= 50
    assert source.deadline >= 50
    assert source.identity
    with pytest.raises(ValidationError, match="frozen"):
        source.every = 5  # type: ignore[misc]
