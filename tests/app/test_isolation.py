"""What hangs in one place of a whole daemon holds up nothing in another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watchdog.app import daemon as daemon_module
from watchdog.app import deploy_watch, reload
from watchdog.app.daemon import Daemon
from watchdog.app.deploy_watch import TargetInspector, TargetSnapshot
from watchdog.config import Config
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import Target
from watchdog.journal import open_journal
from watchdog.sources import ScrapeSource

LONG_TIMEOUT = 30.0
HUNG_COUNT = 40
RULES = """\
targets: {bot: {repo: bot}, other: {repo: bot}}
kpis: {value: {expr: value}}
rules: [{name: first, kpi: value, target: bot, warn: {above: 1}}]
"""


class Stall:
    """Where threads hang until they are let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.started = threading.Semaphore(0)

    def wait(self) -> None:
        self.started.release()
        assert self.release.wait(LONG_TIMEOUT)


@pytest.fixture
def stall() -> Iterator[Stall]:
    one = Stall()
    yield one
    one.release.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(daemon_module, "_INSPECT_INTERVAL", 0.02)
    monkeypatch.setattr(reload, "SETTLE_TIME", 0.01)


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    seen: list[Target] = []

    def inspect(target: Target, *_: object) -> TargetSnapshot:
        seen.append(target)
        return TargetSnapshot("c1", None, 0)

    monkeypatch.setattr(deploy_watch, "inspect_target", inspect)
    return seen


def write_files(folder: Path, hung: int) -> None:
    sources = [f'  hung-{n}: {{type: scrape, url: "http://hung/{n}", every: 50ms}}\n' for n in range(hung)]
    sources.append('  well: {type: scrape, url: "http://well/", every: 50ms}\n')
    (folder / "watchdog.yaml").write_text(f"sources:\n{''.join(sources)}state: {folder}/state\nhistory: off\n")
    (folder / "rules").mkdir()
    (folder / "rules" / "bot.yaml").write_text(RULES)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG_TIMEOUT):
        while not condition():
            await asyncio.sleep(0.005)


def test_forty_hung_sources_starve_neither_a_healthy_one_nor_a_reload_nor_the_look_at_files_and_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stall: Stall, inspected: list[Target]
) -> None:
    reads: list[Millis] = []

    def read(source: ScrapeSource, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        assert (state, cache) == ({}, {})
        if "hung" in source.url:
            stall.wait()
        reads.append(now)
        return [Sample("value", (), now, 0.0)]

    monkeypatch.setattr(ScrapeSource, "read", read)
    write_files(tmp_path, HUNG_COUNT)
    (rules,) = (tmp_path / "rules").iterdir()

    async def main() -> None:
        daemon = Daemon(tmp_path, {})
        await daemon.start(web=False)
        try:
            for _ in range(HUNG_COUNT):
                await until(lambda: stall.started.acquire(blocking=False))

            read_so_far, seen_so_far = len(reads), len(inspected)
            await until(lambda: len(reads) >= read_so_far + 3)
            await until(lambda: len(inspected) >= seen_so_far + 4)
            rules.write_text(RULES.replace("first", "second"))  # noticed by the look at the files
            await until(lambda: list(daemon.config.rules) == ["second"])
            rules.write_text(RULES.replace("first", "third"))
            daemon.reload()
            await until(lambda: list(daemon.config.rules) == ["third"])
            assert not stall.release.is_set()
        finally:
            stall.release.set()
            await daemon.stop()

    asyncio.run(main())


def test_a_reload_that_hangs_holds_up_neither_sources_nor_the_look_at_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stall: Stall, inspected: list[Target]
) -> None:
    reads: list[Millis] = []

    def read(_: ScrapeSource, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        reads.append(now)
        return [Sample("value", (), now, 0.0)]

    def load(*_: object, **__: object) -> Config:
        stall.wait()
        raise RuntimeError("at last")

    monkeypatch.setattr(ScrapeSource, "read", read)
    write_files(tmp_path, 0)

    async def main() -> None:
        daemon = Daemon(tmp_path, {})
        monkeypatch.setattr(reload, "load", load)
        await daemon.start(web=False)
        try:
            daemon.reload()
            await until(lambda: stall.started.acquire(blocking=False))
            read_so_far, seen_so_far = len(reads), len(inspected)
            await until(lambda: len(reads) >= read_so_far + 3 and len(inspected) >= seen_so_far + 4)
        finally:
            stall.release.set()
            await daemon.stop()

    asyncio.run(main())


def test_a_target_whose_repository_hangs_delays_the_look_at_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stall: Stall
) -> None:
    seen: list[str | None] = []

    def inspect(target: Target, *_: object) -> TargetSnapshot:
        if target.repo == "hung":
            stall.wait()
        seen.append(target.repo)
        return TargetSnapshot("c1", None, 0)

    monkeypatch.setattr(deploy_watch, "inspect_target", inspect)
    monkeypatch.setattr(deploy_watch, "_INSPECTION_TIMEOUT", 0.02)
    targets = {f"hung-{n}": Target(repo="hung") for n in range(HUNG_COUNT)} | {"well": Target(repo="well")}

    async def main() -> None:
        journal = open_journal(tmp_path)
        inspector = TargetInspector(journal, lambda: 1_000, lambda *_: None, DirectExecutor())
        try:
            async with asyncio.timeout(LONG_TIMEOUT):
                while len(seen) < 2:  # in the second round the others still hang
                    await inspector.inspect(targets)
            assert set(seen) == {"well"}
        finally:
            stall.release.set()
            inspector.close()
            journal.close()

    asyncio.run(main())
