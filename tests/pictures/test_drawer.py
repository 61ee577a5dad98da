"""Pictures are drawn in a process of their own: one that hangs, breaks or is ended costs a picture and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.pictures.test_kpi_chart import DATA
from watchdog.pictures import drawing_worker, plots
from watchdog.pictures.drawer import ChartDrawer

pytestmark = pytest.mark.slow

PNG = b"\x89PNG"
LONG = 90.0


@pytest.fixture
def drawer() -> Iterator[ChartDrawer]:
    made = ChartDrawer(LONG)
    yield made
    made.close()


def draw(*pictures: Callable[[], Awaitable[bytes | None]]) -> list[bytes | None]:
    async def all_of_them() -> list[bytes | None]:
        return [await each() for each in pictures]

    return asyncio.run(all_of_them())


def process_of(drawer: ChartDrawer) -> psutil.Process:
    assert drawer._running is not None
    return psutil.Process(drawer._running.child.pid)


def test_one_process_draws_one_picture_after_another_and_the_next_one_begins_where_it_was_ended(
    drawer: ChartDrawer,
) -> None:
    async def tell() -> None:
        assert drawer._running is None  # begun by the first picture
        first = await drawer.draw(DATA)
        process = process_of(drawer)
        assert first is not None
        assert first.startswith(PNG)
        assert await drawer.draw(DATA) == first
        assert process_of(drawer) == process

        os.kill(process.pid, signal.SIGKILL)  # at rest: nobody hears of it
        assert await drawer.draw(DATA) == first
        assert process_of(drawer) != process

    asyncio.run(tell())


def test_it_stands_back_inherits_nothing_is_bounded_and_leaves_nothing(
    drawer: ChartDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "secret")
    assert draw(lambda: drawer.draw(DATA))[0]
    process = process_of(drawer)
    folder = Path(process.environ()["MPLCONFIGDIR"])

    assert process.nice() == 19
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
    assert "TELEGRAM_TOKEN" not in process.environ()
    assert "PATH" not in process.environ()  # it runs no program
    assert process.rlimit(psutil.RLIMIT_AS)[0] < 3 << 30
    assert process.memory_info().rss < 300 << 20
    assert folder.stat().st_mode & 0o777 == 0o700

    drawer.close()
    assert not process.is_running()
    until = time.monotonic() + LONG
    while folder.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert draw(lambda: drawer.draw(DATA)) == [None]


@pytest.fixture
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A program in place of ours."""
    python = sys.executable

    def set_program(text: str) -> None:
        path = tmp_path / "worker"
        path.write_text(f"#!{python}\n{text}")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return set_program


READ = "import os, sys\nsize = int.from_bytes(os.read(0, 8), 'big')\nwhile size: size -= len(os.read(0, size))\n"
BROKEN = {
    "ends at once": ("", "has ended"),
    "ends in the middle": (READ + "os.write(0, (500).to_bytes(8, 'big') + b'=half')", "has ended"),
    "says what is wrong": (READ + "os.write(0, (4).to_bytes(8, 'big') + b'#why')\nos.read(0, 1)", "why"),
    "says too much": (READ + "os.write(0, b'\\xff' * 8)\nos.read(0, 1)", "bytes"),
    "is ended by the kernel": (READ + "os.kill(os.getpid(), 9)", "has ended"),
}


@pytest.mark.parametrize(("program", "why"), BROKEN.values(), ids=list(BROKEN))
def test_one_that_breaks_costs_its_picture_and_says_why(
    drawer: ChartDrawer,
    fake_worker: Callable[[str], None],
    program: str,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_worker(program)

    assert draw(lambda: drawer.draw(DATA)) == [None]
    assert why in caplog.text
    assert "bot: error_ratio" in caplog.text


def test_one_that_hangs_is_ended_at_the_deadline_and_others_are_drawn_afterwards(
    fake_worker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = sys.executable
    fake_worker(READ + "os.read(0, 1)")
    drawer = ChartDrawer(0.5)

    async def tell() -> None:
        begun = asyncio.create_task(drawer.draw(DATA))
        while drawer._running is None:
            await asyncio.sleep(0.01)
        hung = process_of(drawer)
        assert await begun is None
        assert not hung.is_running()
        assert "not drawn within 0.5 s" in caplog.text

        monkeypatch.setattr(sys, "executable", real)
        drawer._deadline = LONG
        assert await drawer.draw(DATA) is not None

    asyncio.run(tell())
    drawer.close()


def test_whoever_gives_up_waiting_leaves_no_answer_for_the_next(drawer: ChartDrawer) -> None:
    async def tell() -> None:
        task = asyncio.create_task(drawer.draw(DATA))
        while drawer._running is None:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert drawer._running is None
        assert await drawer.draw(DATA) is not None

    asyncio.run(tell())


def test_of_too_many_at_once_some_go_without(drawer: ChartDrawer) -> None:
    async def tell() -> None:
        drawn = await asyncio.gather(*(drawer.draw(DATA) for _ in range(7)))
        assert [each is not None for each in drawn] == [True] * 4 + [False] * 3

    asyncio.run(tell())


def test_without_matplotlib_there_is_one_line_in_the_log_and_no_process(
    drawer: ChartDrawer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    caplog.set_level(logging.INFO)

    assert draw(*[lambda: drawer.draw(DATA)] * 3) == [None] * 3
    assert not drawer.is_ready()
    assert drawer._running is None
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "pip install matplotlib" in caplog.text


def test_a_mistake_of_ours_is_said_in_the_answer_and_the_process_goes_on() -> None:
    kind, text = drawing_worker._answer(b"{}")

    assert kind == drawing_worker.FAILED
    assert b"KeyError" in text
