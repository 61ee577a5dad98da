"""A clock that goes on steadily, whatever somebody does to the machine's."""

from __future__ import annotations

import pytest

from watchdog.app.steady_clock import Disruption, Standstill, SteadyClock
from watchdog.core.model import Uncounted

NOW, MS = 1_767_225_600_000, 1_000_000
HOUR = 3_600_000


class Machine:
    """Its two clocks, moved by hand."""

    def __init__(self) -> None:
        self.passed = self.set_by = 0
        self.clock = SteadyClock(lambda: (NOW + self.passed + self.set_by) * MS, lambda: (7 + self.passed) * MS)
        self.clock.begin()

    def wait(self, span: int) -> None:
        self.passed += span

    def seconds(self, count: int) -> list[Disruption | None]:
        """What a look at each of them finds."""
        found = []
        for _ in range(count):
            self.wait(1_000)
            found.append(self.clock.look())
        return found


@pytest.mark.parametrize("step", [-30 * 24 * HOUR, -2 * HOUR, -20_000, -1_000, 1_000, 20_000, 2 * HOUR, 30 * 24 * HOUR])
def test_a_clock_that_was_set_is_noticed_once_and_followed_when_all_is_ready(step: int) -> None:
    machine = Machine()
    assert machine.seconds(3) == [None] * 3
    machine.set_by += step

    assert machine.seconds(2) == [Disruption(step, None)] * 2  # what has not been dealt with is found again
    assert machine.clock() == NOW + 5_000
    machine.clock.set(step)
    assert machine.clock() == NOW + 5_000 + step
    assert machine.seconds(30) == [None] * 30
    assert machine.clock.uncounted == Uncounted(steps=step)


@pytest.mark.parametrize("slip", [-700, -5, 3, 700])
def test_what_is_less_is_caught_up_with_and_time_goes_on_all_the_while(slip: int) -> None:
    machine, said = Machine(), [0]
    machine.set_by += slip
    for _ in range(100):
        machine.wait(20)
        said.append(machine.clock())
        assert machine.clock.look() is None
    assert said == sorted(set(said))

    assert machine.seconds(80) == [None] * 80
    assert machine.clock() == NOW + machine.passed + slip
    assert machine.clock.uncounted == Uncounted()


def test_a_drift_of_the_network_is_never_a_step() -> None:
    """ntpd and chronyd bend both clocks; what is left are a few ms each minute."""
    machine = Machine()
    for _ in range(3_600):
        machine.set_by += 5
        assert machine.seconds(1) == [None]
    assert abs(machine.clock() - NOW - machine.passed - machine.set_by) < 50


def test_what_nobody_watched_is_known_from_when_until_when() -> None:
    machine = Machine()
    machine.seconds(2)
    machine.wait(40_000)

    asleep = Standstill(NOW + 2_000, NOW + 42_000)
    assert machine.clock.look() == Disruption(0, asleep)
    machine.clock.pass_over(asleep)
    assert machine.seconds(5) == [None] * 5
    assert machine.clock.uncounted == Uncounted(standstill=40_000)


def test_a_machine_whose_clock_is_set_while_it_sleeps_has_slept_by_the_new_clock() -> None:
    machine = Machine()
    machine.seconds(2)
    machine.wait(3 * HOUR)
    machine.set_by -= HOUR

    assert machine.clock.look() == Disruption(-HOUR, Standstill(NOW - HOUR + 2_000, NOW + 2 * HOUR + 2_000))


def test_a_slow_second_is_no_standstill() -> None:
    machine = Machine()
    for span in (1_000, 4_900, 1_000, 4_900):
        machine.wait(span)
        assert machine.clock.look() is None
