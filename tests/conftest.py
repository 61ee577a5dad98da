"""Which tests are slow, in which order all are run, how property tests are tried, and what no test waits for.

`make test` leaves out what is marked `slow`: what people see pass within minutes. `make test-all` runs everything.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from watchdog.actions.git import repository
from watchdog.core.executor import call_deadline

TESTS = Path(__file__).parent
SLOW_FOLDERS = {"crash", "e2e", "systemd"}
"""Real processes, real time: slow, all but what is marked `quick`."""

# The same examples every time, so that a red build is about the change in it. WATCHDOG_RANDOM=1 tries others.
# How long an example takes is the machine's business.
settings.register_profile(
    "steady",
    derandomize=not os.environ.get("WATCHDOG_RANDOM"),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("steady"), max_examples=20)  # make test
settings.load_profile("steady")

# Processes die in these tests, disks do not: nothing waits for them.
os.environ["GIT_TEST_FSYNC"] = "false"


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setitem(repository._ENV, "GIT_TEST_FSYNC", "false")


@pytest.fixture(autouse=True)
def _no_deadline_is_left_behind() -> Iterator[None]:
    """Whatever is asked next would be given up ahead of its question."""
    yield
    assert call_deadline.get() is None


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in SLOW_FOLDERS and item.get_closest_marker("quick") is None:
            item.add_marker(pytest.mark.slow)
    yield  # -m takes its choice
    _spread_slow_tests(items)


def _spread_slow_tests(items: list[pytest.Item]) -> None:
    """Each worker of `--dist worksteal` is handed an equal stretch of the list. Each begins with its share of the long
    tests: else one worker has them all, and the last of them keeps everybody waiting."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.path.relative_to(TESTS).parts[0] in SLOW_FOLDERS]
    files = list(dict.fromkeys(item.path for item in long))
    # A file of systemd's shares a fixture that takes half a minute; it stays together.
    share_of = {
        item: files.index(item.path) % workers if "systemd" in item.path.parts else number % workers
        for number, item in enumerate(long)
    }
    rest = iter([item for item in items if item not in share_of])
    spread: list[pytest.Item] = []
    for worker in range(workers):
        stretch = [item for item in long if share_of[item] == worker]
        length = (len(items) - len(spread)) // (workers - worker)
        spread += [*stretch, *itertools.islice(rest, max(length - len(stretch), 0))]
    items[:] = spread
