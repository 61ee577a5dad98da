"""Builds everything once and keeps it going: the scheduler, the signals, systemd, and the only clock."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from watchdog import __version__, systemd
from watchdog.actions.git import mark_good
from watchdog.config import Config, load, looks
from watchdog.incidents import Key, Terms
from watchdog.journal import Journal, JournalError, Lock, incidents, outbox, runs
from watchdog.journal.outage import cure
from watchdog.journal.runs import Run
from watchdog.keeper import EVERY, Keeper
from watchdog.model import Memo, Millis, Severity, SourceError, WatchdogError
from watchdog.notify import Outbox
from watchdog.offload import DeadlineError, Offload, StillBusyError
from watchdog.people import People
from watchdog.pipeline import Pipeline
from watchdog.pipeline.watch import answered, named, tripped_since
from watchdog.place import Places, look
from watchdog.promql import Pages
from watchdog.reload import WATCH, Reloader
from watchdog.rollback import Hands, Rollback
from watchdog.status import status
from watchdog.telemetry import Telemetry, log
from watchdog.upkeep import Upkeep
from watchdog.web import Server, pages

_TICK = 1.0
_JUMP = 30_000
"""ms: when the wall clock and the steady clock disagree by more, or a tick is late by more, it counts as a restart."""
_LOOK = 5.0


def clock() -> Millis:
    return time.time_ns() // 1_000_000


class Daemon:
    """One running watchdog. `start`, then `stop`; everything in between happens by itself."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], *, rules_act: bool = True, lock: Lock | None = None
    ) -> None:
        """Loads and checks everything. Raises ConfigError, JournalError, or WatchdogError when another one runs.

        `rules_act=False`: rules are judged and no plan of theirs is started (a plan is run by hand without a daemon).
        """
        seen = looks(path)  # ahead of reading: what is written meanwhile is a change
        self.config = load(path, environ=environ, uid=os.geteuid())
        self._lock = lock or Lock(self.config.state)  # one that took it over from a daemon that hung brings it
        if not (self._lock.held() or self._lock.take()):
            raise WatchdogError(f"{self.config.state} is in use by process {self._lock.holder()} — stop that one first")
        try:
            # The loop stands still while it waits for somebody else's transaction: not for long.
            self.journal = Journal(self.config.state / "journal.db", patience=3.0)
            self.journal.fence = self._lock
            self.journal.reserve.fill()
            self.telemetry = Telemetry(__version__)
            self.keeper = Keeper(
                self.config, self.telemetry, lambda text: self._tell("warn", "history begins anew", [text])
            )
            self.pipeline = Pipeline(
                self.config, self.journal, self.telemetry, clock(), rules_act=rules_act, warm=self.keeper.warm
            )
        except BaseException as error:
            self._lock.release()
            if isinstance(error, sqlite3.OperationalError):
                raise WatchdogError(f"{self.config.state / 'journal.db'}: {error} — {cure(error)}") from None
            raise
        self._sampling = Offload(8, "sampling")
        self._acting = Offload(
            32, "acting"
        )  # threads begin when they are needed: no halt waits for other targets' work
        self._sending = Offload(4, "sending")
        self._memos: dict[str, Memo] = {}
        self._ours: set[str] = set()
        self._last_tick = clock()
        self._steady = time.monotonic()
        self.outbox = Outbox(self.journal, self.telemetry, clock, self._sending, self.config.channels)
        self._upkeep = Upkeep(self.journal, self._lock, self.outbox, self._tell, clock, self._break)
        self.rollback = Rollback(self._hands())
        self.people = People(self.pipeline, self.journal)
        self.places = Places(self.journal)
        self._files = Reloader(
            path,
            environ,
            self.config,
            seen,
            offload=self._sampling,
            telemetry=self.telemetry,
            swap=self._swap,
            tell=self._tell,
        )
        self._stopped = asyncio.Event()
        self._broken: str | None = None
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None})
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    # ─ life ─

    async def start(self, *, web: bool = True) -> None:
        self._loop = asyncio.get_running_loop()
        if web:
            self._serve()
        self.telemetry.reload_ok.set(1)
        self.people.away(self._lock.seen, clock())
        # What is under way is carried out to its end, or ends in a page, even where its target has another name by now.
        for target in dict.fromkeys([*self.config.targets, *runs.at_work(self.journal)]):
            self.rollback.tend(target)
        self._tasks.append(asyncio.create_task(self.outbox.run(), name="outbox"))
        self._schedule()
        self._scheduler.add_job(self._files.watch, "interval", seconds=WATCH, id="files", max_instances=1)
        self._scheduler.add_job(self._tick, "interval", seconds=_TICK, id="tick", max_instances=1)
        # Not part of the tick: a git or a systemctl that hangs must not keep us from saying that we are alive.
        self._scheduler.add_job(
            self._look_around, "interval", seconds=_LOOK, id="look", max_instances=1, next_run_time=_at_once()
        )
        self._scheduler.add_job(
            self._save, "interval", seconds=EVERY, id="history", max_instances=1, next_run_time=_at_once()
        )
        self._scheduler.start()
        systemd.notify("READY=1", self._files.says())
        log.info(
            "watching: %d sources, %d KPIs, %d rules, %d plans",
            len(self.config.sources),
            len(self.config.kpis),
            len(self.config.rules),
            len(self.config.plans),
        )

    async def stop(self) -> None:
        """What is started is finished and written down; the rest is left to the next start."""
        systemd.notify("STOPPING=1")
        if self._scheduler.running:
            logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # it calls the reads that it cancels errors
            self._scheduler.shutdown(wait=False)
        await self._files.stop()
        await self.rollback.stop()
        await self._upkeep.told()
        try:
            await asyncio.wait_for(self.outbox.drain(), 5)
        except (TimeoutError, JournalError, sqlite3.OperationalError):
            log.warning("some messages are still to be sent; they go out at the next start")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await asyncio.to_thread(self._server.close)
        await self.keeper.stop(clock())
        self.close()

    def close(self) -> None:
        """Gives everything back; of a daemon that was never started, this alone."""
        for pool in (self._sampling, self._acting, self._sending):
            pool.close()
        self.journal.close()
        self._lock.release()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; SIGHUP reloads. Raises WatchdogError when a part of us broke."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            await self.start()
            await self._stopped.wait()
        finally:
            await self.stop()
        if self._broken is not None:
            raise WatchdogError(f"{self._broken} — see the log; systemd starts the watchdog again")

    @property
    def port(self) -> int | None:
        return None if self._server is None else self._server.port

    def _serve(self) -> None:
        host, port = self.config.web.host, self.config.web.port
        try:
            shown = pages(self.telemetry.registry, self.health, self._status_from_outside, self._query_from_outside)
            self._server = Server(shown, host, port)
        except OSError as error:
            raise WatchdogError(f"cannot listen on {host}:{port}: {error.strerror} — set web.listen") from None
        log.info("http://%s:%d/metrics", host, self._server.port)

    # ─ sampling ─

    def _schedule(self, before: Config | None = None) -> None:
        """One job a source; a reload replaces what differs from `before`."""
        wanted = {f"source {name}": (name, source) for name, source in self.config.sources.items()}
        for job in self._scheduler.get_jobs():
            if job.id.startswith("source ") and job.id not in wanted:
                job.remove()
        for key, (name, source) in wanted.items():
            if before is not None and before.sources.get(name) == source:
                continue
            self._scheduler.add_job(
                self._sample,
                "interval",
                seconds=source.every / 1_000,
                args=[name],
                id=key,
                replace_existing=True,
                max_instances=1,
                next_run_time=None if self._scheduler.running else _at_once(),
            )
            self._scheduler.modify_job(key, next_run_time=_at_once())

    async def _sample(self, name: str) -> None:
        source = self.config.sources.get(name)
        if source is None:
            return
        now, started = clock(), time.monotonic()
        deadline = (
            getattr(source, "timeout", None) or 10_000
        ) / 1_000 + 1  # it keeps its own; this is for one that hangs
        memo = self._memos.setdefault(name, {})
        samples, why = None, ""
        try:
            samples = await self._sampling(f"source {name}", deadline, lambda: list(source.read(memo, now)))
        except SourceError as error:
            why = str(error)
        except DeadlineError:
            why = f"no answer within {deadline:g} s"
        except StillBusyError:
            why = "the last read still hangs"
        if self.config.sources.get(name) != source:
            return  # a reload has taken it away or made another of it meanwhile
        if samples is None:
            self._lost(name, why)
        else:
            self._found(name)
            self.pipeline.keep(name, samples, now)
        self.telemetry.source_duration.labels(name).set(time.monotonic() - started)
        self._judge(name)

    def _lost(self, name: str, why: str) -> None:
        self.pipeline.lose(name, clock())
        if self._memos[name].get("__lost__") != why:
            self._memos[name]["__lost__"] = why
            log.warning("source %s: %s", name, why)

    def _found(self, name: str) -> None:
        if self._memos[name].pop("__lost__", None) is not None:
            log.info("source %s delivers again", name)

    def _judge(self, source: str | None = None) -> None:
        try:
            with self.telemetry.evaluation.time():
                worked = self.pipeline.judge(clock(), source)
        except sqlite3.OperationalError as error:  # nothing of it was written down: it is judged anew
            self._upkeep.unwritten(error)
            return
        self.rollback.wake()
        if worked:
            self.outbox.wake()

    async def _save(self) -> None:
        await self.keeper.save(clock())

    # ─ the tick: patience, missing data, people, systemd ─

    async def _tick(self) -> None:
        now, steady = clock(), time.monotonic()
        if abs((now - self._last_tick) - (steady - self._steady) * 1_000) > _JUMP or now - self._last_tick > _JUMP:
            log.warning("the clock jumped, or the machine slept: timers start from here")
            try:
                self.pipeline.wake(now)
                self.people.away(self._last_tick, now)
            except sqlite3.OperationalError as error:  # it is done at the next tick
                self._upkeep.unwritten(error)
                systemd.notify("WATCHDOG=1")
                return
        self._last_tick, self._steady = now, steady
        if not self._upkeep.look():
            return
        for task in [*self._tasks, *self.rollback.tasks, *self._files.failed]:
            if task.done() and not self._stopped.is_set():  # better a restart than half a watchdog
                self._break(f"{task.get_name()} broke")
                log.critical("%s", self._broken, exc_info=None if task.cancelled() else task.exception())
        self._judge()
        try:
            if self.people.tick(now):
                self.outbox.wake()
            for request in outbox.asked(self.journal):
                self._answer(request)
        except sqlite3.OperationalError as error:
            self._upkeep.unwritten(error)
        systemd.notify("WATCHDOG=1")  # also in an outage: a restart cures none, and forgets what was seen

    def _break(self, why: str) -> None:
        self._broken = why
        self._stopped.set()

    def health(self) -> str | None:
        """What is wrong with ourselves; None when nothing is."""
        late = clock() - self._last_tick
        return self._upkeep.health() if late < 10_000 else f"the last tick was {late / 1_000:.0f} s ago"

    def _answer(self, request: outbox.Request) -> None:
        ok, text = self.people.answer(request, clock())
        with self.journal.write() as db:
            outbox.answer(db, request.id, ok, text, clock())
        self._judge()
        self.outbox.wake()

    async def _look_around(self) -> None:
        try:
            await asyncio.gather(*(self._look(target) for target in self.config.targets))
        except sqlite3.OperationalError as error:
            self._upkeep.unwritten(error)

    async def _look(self, target: str) -> None:
        """Notices what other people deploy or restart, and which commit has proved itself."""
        known, over = self.config.targets[target], target in self._ours
        try:
            seen = await self._sampling(f"place {target}", 10.0, look, known, self.places.head(target, clock()))
        except (DeadlineError, StillBusyError):
            return
        active = any(run.status == "running" for run in runs.unended(self.journal, target))
        ours = active or target in self._ours
        if over:  # a look that began ahead of a run's end says nothing of what that run did last
            self._ours.discard(target)
        if seen.again and not ours:
            self._tell("warn", f"{target}: what was rolled back runs again", seen.again)
        if self.places.note(target, seen, ours, clock()) and known.repo is not None:
            await self._acting(f"place {target}", 30.0, mark_good, known.repo, clock())

    # ─ reload ─

    def reload(self) -> None:
        """Validates everything, then swaps; a bad file changes nothing."""
        self._files.ask()

    def _swap(self, config: Config) -> None:
        for name, source in config.sources.items():
            if self.config.sources.get(name) != source:
                self._memos[name] = {}  # what another source remembered means nothing to this one
        old, self.config = self.config, config
        self.pipeline.use(config, clock())
        self.outbox.channels = config.channels
        self._schedule(old)
        for target in config.targets:
            self.rollback.tend(target)

    def _tell(self, severity: Severity, title: str, lines: Sequence[str], *, weight: Severity = "warn") -> None:
        """A message that belongs to no incident."""
        with self.journal.write() as db:
            self.pipeline.ledger.tell(db, severity, title, lines, clock(), weight=weight)
        self.outbox.wake()

    # ─ what the rollback needs of the rest ─

    def _hands(self) -> Hands:
        def halt(target: str, plan: str, by: str, incident: int | None) -> bool:
            if plan not in self.config.plans or target not in self.config.targets:
                return False
            with self.journal.write() as db:
                self.pipeline.ledger.queue(db, target, plan, by, clock(), incident=incident)
            return True

        def tell(severity: Any, title: str, lines: Any, *, incident: int | None) -> None:
            with self.journal.write() as db:
                self.pipeline.ledger.tell(db, severity, title, lines, clock(), incident=incident, weight="warn")
            self._loop.call_soon_threadsafe(self.outbox.wake)

        def over(run: Run) -> bool:
            self.outbox.wake()
            return self.pipeline.over(run, clock())

        def tripped(incident: int, target: str) -> dict[Key, Terms]:
            return answered(self.config.checks, incidents.trips(self.journal, incident), target)

        def wanted(run: Run) -> bool | None:
            if run.incident is None or not run.by.startswith("rule "):
                return True
            return self.pipeline.still_fires(tripped(run.incident, run.target))

        return Hands(
            journal=self.journal,
            telemetry=self.telemetry,
            clock=clock,
            offload=self._acting,
            terms=tripped,
            evidence=self.pipeline.evidence,
            wanted=wanted,
            halt=halt,
            tell=tell,
            ended=self._ours.add,
            over=over,
            named=lambda target, names: named(self.config.checks, self.pipeline.machines, target, names),
            mute=self.pipeline.mute,
            held=lambda target: self.pipeline.ledger.held(target, clock()),
            backups=self.config.state / "backups",
            trips=lambda target, since: tripped_since(self.config.rules, self.pipeline.machines, target, since),
        )

    def _status_from_outside(self) -> dict[str, object]:
        async def ask() -> dict[str, object]:
            lost = {name: memo.get("__lost__") for name, memo in self._memos.items()}
            return status(self.config, self.pipeline, self.journal, lost, clock()) | {"history": self.keeper.said()}

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(5)

    def _query_from_outside(self, asked: Mapping[str, str]) -> dict[str, object]:
        """Only the copy is made in our own loop: what a stranger asks delays nothing."""
        from watchdog.history.ask import When, answer, names_in, snapshot, with_past  # paid by the first who asks

        expr = asked.get("expr", "")
        names = names_in(expr)
        times = When(asked.get("at"), asked.get("from"), asked.get("to"), asked.get("step")).times(clock())

        async def copy() -> Pages:
            return snapshot(self.pipeline.store, names)

        series = asyncio.run_coroutine_threadsafe(copy(), self._loop).result(5)
        return answer(expr, with_past(self.keeper.path, expr, series, times), times)[1]


def _at_once() -> datetime:
    return datetime.now(UTC)
