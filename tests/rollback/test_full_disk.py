"""A journal that cannot be written for a moment: nothing is done that is not written down, and nothing twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.rig import Rig, halt, once


class Full(Rig):
    """The n-th commit fails, as on a full disk."""

    fails_at = 0

    def fill(self, n: int) -> None:
        self.fails_at = n
        seen = self.boundary.__call__

        def boundary(what: str) -> None:
            seen(what)
            if what == "commit":
                self.fails_at -= 1
                if self.fails_at == 0:
                    raise sqlite3.OperationalError("database or disk is full")

        self.boundary_at(boundary)

    def boundary_at(self, call: Callable[[str], None]) -> None:
        self.journal._boundary = call  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["ladder", "halt"])
def test_a_run_goes_on_when_the_disk_has_room_again(folder: Callable[[], Path], kind: str) -> None:
    failed = 0
    for n in range(1, 60):
        rig = Full(folder())
        rig.plans["halt"] = halt(
            levels=[{"name": "stop", "steps": [once("stopped")], "verify": {"that": ["alive == 1"], "give_up": "5s"}}]
        )
        number = rig.queue(kind)
        rig.fill(n)
        rig.play()
        assert rig.run(number).outcome == "proven", n
        assert rig.effects() == (["stopped"] if kind == "halt" else [])
        assert len(rig.changes) == len(set(rig.changes))
        failed += rig.fails_at <= 0
        rig.journal.close()
        if rig.fails_at > 0:
            break
    assert failed >= 5
