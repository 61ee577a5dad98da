from __future__ import annotations

import time

import pytest

from watchdog.web.pacing import Pacer


def test_who_need_not_wait_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping for no time at all is an error where the clock that sleeps are counted by is not the kernel's (faketime)."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    pacer = Pacer()
    assert pacer.make("status", lambda: "first") == "first"
    assert slept == []
    pacer.make("history", lambda: "second")
    assert all(pause > 0 for pause in slept)
