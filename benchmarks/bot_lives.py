"""Lives of the example bot, as fast as it can think: what a scrape once a second would have read from its page.

Every number is made by the bot's own code. `bot.py` walks bar by bar in a process of its own, as it is started there, and
after each bar its metrics are looked at where its page takes them from. Which of these pages a scrape sees is a matter of
the pace alone, so one walk serves all paces.
"""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.offline.history.page_builder import PageBuilder
from watchdog.tsdb.page import Floats, Ints, PageList

EXAMPLE = Path(__file__).parents[1] / "examples" / "hmm_bot"
SCRAPE_MS: Millis = 1_000
RESTART_MS: Millis = 3_000
"""ms in which a bot that is restarted can not be read, and sees no bar."""
_PRELOADED = ["hmmlearn.hmm", "numpy", "prometheus_client"]
_NOT_THE_BOTS = ("process_", "python_", "bot_info")
_SEED_LINE = "SEED = 1\n"

BotState = dict[str, Any]
"""What the bot keeps in its state.json."""


class Walk(NamedTuple):
    """A run of one version of the bot."""

    version: str
    """`v1` or `v2`."""
    state: BotState
    """Where it begins."""
    bars: int
    keep_state_after: int = 0
    """Bars after which its state is handed out as well."""
    seed: int = 1
    """Of v2: of the random starts of its fits."""


class Pages(NamedTuple):
    """The metrics after each bar."""

    keys: list[tuple[str, Labels]]
    values: Floats
    """[keys, bars]; NaN where there was none yet."""
    state: BotState
    """After `keep_state_after` bars."""

    def first(self, bars: int) -> Pages:
        """The first so many bars of it."""
        return self._replace(values=self.values[:, :bars])


def walk_all(walks: Iterable[Walk]) -> Iterator[Pages]:
    """Each in a process of its own, as many at once as there are processors; in the order of `walks`."""
    context = multiprocessing.get_context("forkserver")  # none inherits the metrics of another one
    context.set_forkserver_preload(_PRELOADED)
    with _one_thread_each(), context.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        yield from pool.imap(_walk, walks)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """More threads only wait for each other on matrices this small."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _walk(walk: Walk) -> Pages:
    """In a new process: the bot's modules, and what they count, are there once."""
    with TemporaryDirectory(prefix="benchmarks-bot-") as name:
        folder = Path(name)
        for file in ("bot.py", "model.py", "config.py", "sp500.csv"):
            shutil.copy(EXAMPLE / file, folder / file)
        if walk.version != "v1":
            model = (EXAMPLE / walk.version / "model.py").read_text()
            assert _SEED_LINE in model
            (folder / "model.py").write_text(model.replace(_SEED_LINE, f"SEED = {walk.seed}\n"))
            shutil.copy(EXAMPLE / walk.version / "config.py", folder / "config.py")
        (folder / "state.json").write_text(json.dumps(walk.state))
        sys.path.insert(0, name)
        module = importlib.import_module("bot")
        logging.getLogger("hmmlearn").setLevel(logging.ERROR)
        return _step(module, walk)


def _step(module: Any, walk: Walk) -> Pages:
    from prometheus_client import REGISTRY

    for result in ("win", "loss"):
        module.TRADES.labels(result)
    module.set_gauge("exchange_connection_failures", 0)
    module.set_gauge("market_open", 1)
    bot = module.Bot()
    bot.reload_and_save()
    rows: list[dict[tuple[str, Labels], float]] = []
    kept: BotState = {}
    for bar in range(walk.bars):
        bot.step()
        rows.append(
            {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in REGISTRY.collect()
                if not family.name.startswith(_NOT_THE_BOTS)
                for sample in family.samples
                if not sample.name.endswith("_created")
            }
        )
        if bar + 1 == walk.keep_state_after:
            kept = asdict(bot.state)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Pages(keys, np.array([[row.get(key, np.nan) for row in rows] for key in keys]), kept)


class ScrapedHistory(NamedTuple):
    """What scrapes once a second read."""

    pages: PageList
    began: list[Millis]
    """When each version saw its first bar."""


def scrape(lives: Iterable[Pages], bar: Millis, start: Millis, *, phase: Millis = 0) -> ScrapedHistory:
    """Versions that follow each other from `start` on, a bar each `bar` ms; the first scrape is `phase` ms after the first bar."""
    builder, began = PageBuilder("bot"), []
    first_bar = start
    for pages in lives:
        began.append(first_bar)
        over = first_bar + pages.values.shape[1] * bar
        earliest = start + phase + -(-(first_bar - start - phase) // SCRAPE_MS) * SCRAPE_MS
        times: Ints = np.arange(earliest, over, SCRAPE_MS, dtype=np.int64)
        bars = (times - first_bar) // bar
        for key, values in zip(pages.keys, pages.values, strict=True):
            read = values[bars]
            if key[0] == "last_tick_timestamp_seconds":
                read = (first_bar + bars * bar) / 1_000  # the clock of the walk is not that of the pace
            there = np.isfinite(read)
            builder.add(builder.series_key(*key), times[there], read[there], start)
        first_bar = over + RESTART_MS
    return ScrapedHistory(builder.build(), began)
