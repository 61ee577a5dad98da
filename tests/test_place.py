"""What other people change under us, and which commit has proved itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from watchdog.journal import Journal, incidents
from watchdog.model import Millis
from watchdog.place import GOOD, Places, Seen

START = 1_700_000_000_000
LOOK = 5_000
FIRST = Seen("c1", "i1", 0)


class Street:
    """Looks every five seconds at one target."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.folder / "journal.db")
        self.journal.rows("PRAGMA synchronous=OFF")
        self.places = Places(self.journal)

    def look(self, seen: Seen = FIRST, *, ours: bool = False, after: Millis = LOOK) -> bool:
        self.now += after
        return self.places.note("bot", seen, ours, self.now)

    def looks(self, time: Millis, seen: Seen = FIRST, *, every: Millis = 50_000) -> bool:
        """Whether the commit became a good one within the time."""
        return sum(self.look(seen, after=every) for _ in range(time // every)) > 0  # all of them, not until the first

    @property
    def standing(self) -> incidents.Standing:
        return incidents.standing(self.journal, "bot", self.now)


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    made = Street(tmp_path)
    yield made
    made.journal.close()


@pytest.mark.parametrize(
    ("seen", "settles"),
    [
        (Seen("c2", "i1", 0), True),
        (Seen("c1", "i2", 0), True),
        (Seen("c1", "i2", 1), False),
        (Seen("c2", "i2", 1), True),
        (Seen(None, None, 0, False), False),
        (Seen("c1", None, 0, False), False),
    ],
    ids=["deployed", "restarted", "restarted by systemd", "deployed and crashed", "cannot be read", "stopped"],
)
def test_what_somebody_else_changes_settles_and_what_systemd_does_by_itself_does_not(
    street: Street, seen: Seen, settles: bool
) -> None:
    street.look()
    street.look()
    assert street.standing.unsettled is None

    street.look(seen)

    assert (street.standing.unsettled == street.now) is settles


def test_what_we_changed_ourselves_is_nobodys_deployment(street: Street) -> None:
    street.look()

    street.look(Seen("c2", "i2", 0), ours=True)
    street.look(Seen("c2", "i2", 0))

    assert street.standing.unsettled is None
    assert (street.standing.head, street.standing.invocation) == ("c2", "i2")


def test_what_was_changed_while_the_watchdog_was_away_settles(street: Street) -> None:
    street.look()
    street.journal.close()
    street.open()

    street.look(Seen("c2", "i2", 0), after=3_600_000)

    assert street.standing.unsettled == street.now


def test_a_commit_that_was_quiet_for_a_day_of_looks_is_good_once(street: Street) -> None:
    street.look()
    assert not street.looks(GOOD - 100_000)

    assert street.looks(200_000)
    assert not street.looks(200_000)


def test_looks_that_are_seconds_apart_add_up(street: Street) -> None:
    for _ in range(30):
        street.look()

    assert street.standing.quiet_for == 120_000  # of 145 s; the journal keeps whole minutes


def test_quiet_adds_up_over_a_restart_without_the_time_in_between(street: Street) -> None:
    street.look()
    street.looks(GOOD // 2)
    street.journal.close()
    street.open()
    street.look(after=GOOD)

    assert not street.looks(GOOD // 2 - 200_000)
    assert street.looks(400_000)


def test_a_night_asleep_is_no_night_of_quiet(street: Street) -> None:
    street.look()

    assert not street.look(after=2 * GOOD)
    assert not street.look(after=-GOOD)
    assert not street.looks(GOOD // 2)


@pytest.mark.parametrize(
    "seen", [Seen("c1", None, 0, False), Seen(None, None, 0, False)], ids=["stopped", "unreadable"]
)
def test_nothing_speaks_for_the_commit_of_a_bot_that_does_not_run(street: Street, seen: Seen) -> None:
    street.look()

    assert not street.looks(2 * GOOD, seen)


def test_an_incident_a_latch_and_a_deployment_start_the_quiet_anew(street: Street) -> None:
    street.look()
    street.looks(GOOD - 500_000)
    with street.journal.write() as db:
        number = incidents.open_incident(db, "bot", "warn", "errors", street.now)
    street.look()
    with street.journal.write() as db:
        incidents.close(db, number, street.now)
    assert not street.looks(GOOD - 500_000)

    with street.journal.write() as db:
        incidents.stand(db, "bot", latched=street.now, latch_why="halt halt")
    assert not street.looks(GOOD)
    with street.journal.write() as db:
        incidents.stand(db, "bot", latched=None, latch_why=None)
    assert not street.looks(GOOD - 500_000)

    street.look(Seen("c2", "i2", 0))
    assert not street.looks(GOOD - 500_000, Seen("c2", "i2", 0))
    assert street.looks(1_000_000, Seen("c2", "i2", 0))
