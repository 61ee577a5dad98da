"""Builds everything once and keeps it going: the rounds, the signals, systemd, and the only clock."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from watchdog import __version__
from watchdog.app.alert_refresher import REFRESH_INTERVAL, AlertRefresher
from watchdog.app.charts import Charts
from watchdog.app.chat_desk import ChatDesk
from watchdog.app.deploy_watch import TargetInspector
from watchdog.app.disruptions import Disruptions
from watchdog.app.ended_topics import tell_ended
from watchdog.app.failing_rounds import FailingRounds
from watchdog.app.journal_health import JournalHealth
from watchdog.app.latch_watch import LatchWatch
from watchdog.app.lost_journal import tell_lost
from watchdog.app.own_journal import make_own
from watchdog.app.periodic import run_periodically
from watchdog.app.reload import WATCH_INTERVAL, Reloader
from watchdog.app.reload_guard import BY_START, ReloadGuard
from watchdog.app.request_queue import RequestQueue
from watchdog.app.requests import RequestHandler
from watchdog.app.rollback_wiring import make_rollback_context
from watchdog.app.sampling import Sampler
from watchdog.app.series_copy import copier
from watchdog.app.series_writer import WRITE_INTERVAL, SeriesWriter
from watchdog.app.slow_requests import SlowRequests
from watchdog.app.source_judge import SourceJudge
from watchdog.app.standing_watch import StandingWatch
from watchdog.app.status import build_status, log_inventory, targets_to_show
from watchdog.app.steady_clock import SteadyClock
from watchdog.app.summaries import CHECK_INTERVAL, Summaries
from watchdog.chat.head import head_describer
from watchdog.config import Config, FileStats, find_files, load, stat_files
from watchdog.core.errors import WatchdogError
from watchdog.core.executor import owner_executor
from watchdog.core.model import Message
from watchdog.core.offload import ThreadOffload
from watchdog.core.telemetry import Telemetry, log
from watchdog.host import sd_notify
from watchdog.journal import open_journal, topics
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.requests import RELOAD, SAVE_HISTORY, Request
from watchdog.notifiers.outbox import OutboxSender
from watchdog.pipeline.machine_state import list_firing
from watchdog.pipeline.pipeline import Pipeline
from watchdog.plans.models import Halt, Repair
from watchdog.rollback.runner import RollbackRunner
from watchdog.web.pages import build_routes
from watchdog.web.query_process import QueryProcess
from watchdog.web.server import WebServer, start_server
from watchdog.worker import launch
from watchdog.worker.client import WorkerExecutor

_ROUND_INTERVAL = 1.0
_INSPECT_INTERVAL = 5.0
_UNHEALTHY_AFTER = 10.0
"""s since the last round."""


class Daemon:
    """One running watchdog. `start`, then `stop`; everything in between happens by itself."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        *,
        automatic_plans: bool = True,
        lock: StateLock | None = None,
        loaded: tuple[FileStats, Config] | None = None,
    ) -> None:
        """Loads and checks everything. Raises ConfigError, JournalError, or WatchdogError when another one runs.

        `loaded`: what that has given already, and how the files were ahead of it.

        `automatic_plans=False`: rules are judged and no plan of theirs is started (a plan is run by hand without a daemon).
        """
        if loaded is None:  # stat ahead of reading: what is written meanwhile is a change
            loaded = stat_files(path), load(path, environ=environ, uid=os.geteuid())
        fingerprint, self.config = loaded
        self._lock = lock or StateLock(self.config.state)  # one that took it over from a daemon that hung brings it
        if not (self._lock.is_held() or self._lock.acquire()):
            raise WatchdogError(
                f"{self.config.state} is in use by process {self._lock.holder_pid()} — stop that one first"
            )
        self._executor = WorkerExecutor()
        self.clock = clock = SteadyClock()
        try:
            # The loop stands still while it waits for somebody else's transaction: not for long.
            self.journal = open_journal(self.config.state, busy_timeout=3.0)
            self.configuration = make_own(self.journal, self._lock, path, self.config, environ, self.clock())
            self.telemetry = Telemetry(__version__)
            self._standing = StandingWatch(
                self.journal, self._executor, lambda: self.config.targets, clock, self._plan_now
            )
            self.series_writer = SeriesWriter(self.config, self.telemetry, self._notify)
            self._reload_guard = ReloadGuard(self.journal, find_files(path).folder, clock)
            self._reload_guard.begin(self.config)
            self.pipeline = Pipeline(
                self.config,
                self.journal,
                self.telemetry,
                self.clock(),
                automatic_plans=automatic_plans,
                restore_history=self.series_writer.restore,
                describe_left=self._standing.describe_left,
                removed=BY_START,
            )
            self._reload_guard.firing = lambda: list_firing(self.pipeline.machines)
        except BaseException as error:
            self._executor.close()
            self._lock.release()
            if isinstance(error, JournalUnavailableError):
                raise WatchdogError(f"{self.journal.location}: {error}") from None
            raise
        # What hangs in one of these holds up nothing in another; sources and targets have pools of their own, too.
        self._reloading = ThreadOffload(None, "reloading")
        self._acting = ThreadOffload(32, "acting")
        self._sending = ThreadOffload(None, "sending")
        self._last_round = time.monotonic()
        self.outbox = OutboxSender(
            *(self.journal, self.telemetry, clock, self._sending, self.config.channels),
            describe_incident=lambda *asked: self.pipeline.incident_manager.firing.describe_incident(*asked),  # noqa: PLW0108 - of the configuration as it is then,
            describe_head=head_describer(self.journal, lambda: self.config),
        )
        self.outbox.silent = self.config.silent_channels
        self.charts = Charts(self.pipeline, self.series_writer.path, clock)
        self.outbox.draw = self.charts.draw
        self._alerts = AlertRefresher(self.pipeline, self.outbox, clock, self._sending, self._notify)
        self.journal_health = JournalHealth(self.journal, self._lock, self.outbox, self._notify, clock, self._fail)
        self._inspector = TargetInspector(self.journal, clock, self._notify, self._executor)
        self._latches = LatchWatch(
            self.pipeline, self._executor, self._inspector.offload, clock, self._notify, self._lock
        )
        self.rollback = RollbackRunner(
            make_rollback_context(
                self.pipeline,
                clock,
                lambda: clock.uncounted,
                offload=self._acting,
                executor=self._executor,
                notify_pending=lambda: self._loop.call_soon_threadsafe(self.outbox.notify_pending),
                inspector=self._inspector,
                standing=self._standing,
                journal_health=self.journal_health,
            )
        )
        self.request_handler = RequestHandler(self.pipeline, self.journal, self._standing.changes)
        self._reloader = Reloader(
            path,
            environ,
            self.config,
            fingerprint,
            offload=self._reloading,
            telemetry=self.telemetry,
            guard=self._reload_guard,
            apply_config=self._apply_config,
            notify=self._notify,
            send_all=self.outbox.drain,
        )
        self._broker_end_told = False
        slow = {SAVE_HISTORY: self._save_history, RELOAD: self._reloader.answer}
        self._slow_requests = SlowRequests(slow, self.journal, clock)
        self._requests = RequestQueue(
            *(self.journal, self.request_handler, self._slow_requests, self._standing, clock, self._request_answered)
        )
        self.chat_desk = ChatDesk(
            *(self.journal, self.telemetry, clock, lambda: self.config, self._sending),
            answer_requests=self._requests.answer_all,
            notify_pending=self.outbox.notify_pending,
            notify=self._notify,
            sources_down=lambda: {name: why for name, why in self._sampler.errors().items() if why is not None},
        )
        self._requests.tell_answer = self.chat_desk.tell_answer
        self._stop_requested = asyncio.Event()
        self._failure: str | None = None
        self._queries = QueryProcess(clock, self.series_writer.path, copier(self.pipeline.store, lambda: self._loop))
        self._server: WebServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._periodic: list[asyncio.Task[None]] = []
        self._failing_rounds = FailingRounds(self._notify)
        self._source_judge = SourceJudge(self._judge)
        self._sampler = Sampler(
            *(self.pipeline, self.telemetry, clock, self._judge_source, self.series_writer.restored_states),
            *(self.pipeline.store.retention_of, self.pipeline.store.series_key),
        )
        self._disruptions = Disruptions(
            *(clock, self.pipeline, self.series_writer, self._sampler, self.request_handler),
            *(self.journal_health, self._notify),
        )
        self._sampler.notice_disruption = self._disruptions.notice
        self._summaries = Summaries(
            *(lambda: self.config, self.pipeline, self.journal, clock),
            *(self.journal_health.record_failure, self._build_status, self._write_series, self.outbox.notify_pending),
        )

    # ─ life ─

    async def start(self, *, web: bool = True) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor.warm_up_soon(self.config.targets.values())
        owner_executor.set(self._executor)
        if web:
            self._start_web()
            self.chat_desk.start()  # who acts for one run alone hears nobody
            self._repeat("summary", CHECK_INTERVAL, self._summaries.check)
        self.telemetry.reload_ok.set(1)
        self.request_handler.extend_approvals(self._lock.last_heartbeat, self.clock())
        # What is under way is carried out to its end, or ends in a page, even where its target has another name by now.
        for target in dict.fromkeys([*self.config.targets, *self.journal.runs.list_targets_with_unfinished_runs()]):
            self.rollback.start_target(target)
        self.outbox.resume(self.clock())
        self._tasks.append(asyncio.create_task(self.outbox.run(), name="outbox"))
        tell_lost(self.journal, self._notify)
        self._reload_guard.tell_start(self.config, self._notify)
        tell_ended(self.journal, self.config, self._reloader.problems, self._notify, is_start=True)
        self._sampler.apply(self.config.sources)
        self.clock.begin()
        # The inspection is not part of the round: a git or a systemctl that hangs must not keep us from saying that we are alive.
        self._repeat("files", WATCH_INTERVAL, self._reloader.check_files)
        self._repeat("round", _ROUND_INTERVAL, self._round)
        self._repeat("alerts", REFRESH_INTERVAL, self._alerts.refresh, at_once=True)
        self._repeat("inspection", _INSPECT_INTERVAL, self._inspect_targets, at_once=True)
        self._repeat("history", WRITE_INTERVAL, self._write_series, at_once=True)
        sd_notify.notify("READY=1", self._reloader.systemd_status())
        log_inventory(self.config)

    async def stop(self) -> None:
        """What is started is finished and written down; the rest is left to the next start."""
        sd_notify.notify("STOPPING=1")
        await self.chat_desk.stop()
        await self._sampler.stop()
        self._source_judge.stop()
        for task in self._periodic:
            task.cancel()
        await asyncio.gather(*self._periodic, return_exceptions=True)
        await self._reloader.stop()
        await self.rollback.stop()
        await self.journal_health.wait_for_alarm()
        self.charts.close()  # the last messages wait for no picture
        try:
            await asyncio.wait_for(self.outbox.drain(), 5)
        except (TimeoutError, JournalError, JournalUnavailableError):
            log.warning("some messages are still to be sent; they go out at the next start")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._slow_requests.stop()
        if self._server is not None:
            await asyncio.to_thread(self._server.close)
        await self.series_writer.stop(self.clock(), self._sampler.states())
        self.close()

    def close(self) -> None:
        """Gives everything back; of a daemon that was never started, this alone."""
        pools = self._sampler, self._inspector, self._standing, self._reloading, self._acting, self._sending
        for pool in (self._queries, self.charts, *pools):
            pool.close()
        self._executor.close()
        self.journal.close()
        self._lock.release()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; SIGHUP reloads. Raises WatchdogError when a part of us broke."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_requested.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            await self.start()
            await self._stop_requested.wait()
        finally:
            await self.stop()
        if self._failure is not None:
            raise WatchdogError(f"{self._failure} — see the log; systemd starts the watchdog again")

    def _repeat(
        self, name: str, seconds: float, function: Callable[[], Awaitable[object]], *, at_once: bool = False
    ) -> None:
        running = run_periodically(seconds, function, at_once=at_once, note=partial(self._failing_rounds.note, name))
        self._periodic.append(asyncio.create_task(running, name=name))

    @property
    def port(self) -> int | None:
        return None if self._server is None else self._server.port

    def _start_web(self) -> None:
        ask, notes = (self._status_threadsafe, self._queries.answer), self._reloader.describe_files
        routes = build_routes(self.telemetry.registry, self.health, *ask, notes)
        self._server = start_server(self.config.web, routes)

    # ─ judging ─

    async def _judge_source(self, source: str) -> None:
        await self.pipeline.prefetch(self.clock(), source)
        await self._source_judge.judge(source)

    def _judge(self, *sources: str) -> None:
        try:
            with self.telemetry.evaluation_duration.time():
                affected = self.pipeline.judge(self.clock(), *sources)
        except JournalUnavailableError as error:  # nothing of it was written down: it is judged anew
            self.journal_health.record_failure(error)
            return
        self.rollback.wake()
        if affected:
            self.outbox.notify_pending()

    async def _save_history(self, _: Request) -> tuple[bool, str]:
        now = self.clock()
        written = await self._write_series()
        return written, str(now) if written else "it could not be written down, or none is kept (history: off)"

    async def _write_series(self) -> bool:
        """True when all of it is written down."""
        try:
            return await self.series_writer.write(self.clock(), self._sampler.states())
        except JournalUnavailableError as error:  # it is written; what there is to say about it waits
            self.journal_health.record_failure(error)
            return False

    # ─ the tick: patience, missing data, people, systemd ─

    async def _round(self) -> None:
        self._disruptions.notice()
        now, self._last_round = self.clock(), time.monotonic()
        if not self.journal_health.check():
            return
        broken = [*self._reloader.failed_tasks, *self._slow_requests.failed_tasks, *self.chat_desk.tasks]
        for task in [*self._tasks, *self._periodic, *self._sampler.tasks, *self.rollback.tasks, *broken]:
            if task.done() and not self._stop_requested.is_set():  # better a restart than half a watchdog
                self._fail(f"{task.get_name()} broke")
                log.critical("%s", self._failure, exc_info=None if task.cancelled() else task.exception())
        await self.pipeline.prefetch(now)
        self._judge()
        try:
            if not self._broker_end_told and (why := launch.describe_problem()) is not None:
                self._broker_end_told = True
                self._notify(Message("crit", why, opens=(topics.BROKER,)))
            if self.request_handler.end_suppressions(now):
                self.outbox.notify_pending()
            await self._requests.answer_all()
        except JournalUnavailableError as error:
            self.journal_health.record_failure(error)
        sd_notify.notify("WATCHDOG=1")  # also in an outage: a restart cures none, and forgets what was seen

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._stop_requested.set()

    def health(self) -> str | None:
        """What is wrong with ourselves; None when nothing is."""
        late = time.monotonic() - self._last_round
        if late >= _UNHEALTHY_AFTER:
            return f"the last tick was {late:.0f} s ago"
        problem = self.journal_health.describe_problem() or self._failing_rounds.describe_problem()
        problem = problem or launch.describe_problem()
        return problem or self._reload_guard.describe_problem()

    def _request_answered(self) -> None:
        self._judge()
        self.outbox.notify_pending()

    async def _inspect_targets(self) -> None:
        try:
            await self._inspector.inspect(self.config.targets)
            await self._latches.inspect(self.rollback.wake)
            await self._standing.look(self.journal.incidents.list_targets_with_open_incident())  # for its last message
        except JournalUnavailableError as error:
            self.journal_health.record_failure(error)

    # ─ reload ─

    def reload(self) -> None:
        """Validates everything, then swaps; a bad file changes nothing."""
        self._reloader.request_reload()

    def _apply_config(self, config: Config, removed: str) -> None:
        self.journal.probe()  # nothing is changed by half while it takes nothing
        self.config = config
        self.pipeline.apply_config(config, self.clock(), removed)
        self.outbox.apply_channels(config.channels, config.silent_channels, self.clock())
        tell_ended(self.journal, self.config, self._reloader.problems, self._notify)
        self.chat_desk.apply_config()
        self._sampler.apply(config.sources)
        self._executor.warm_up_soon(config.targets.values())
        for target in config.targets:
            self.rollback.start_target(target)

    def _plan_now(self, name: str, target: str) -> Halt | Repair | None:
        return self.config.plan(name, target)

    def _notify(self, message: Message) -> None:
        with self.journal.transaction() as tx:
            self.pipeline.incident_manager.notify(tx, message, self.clock())
        self.outbox.notify_pending()

    # ─ from other threads ─

    async def _build_status(self) -> dict[str, object]:
        await self._standing.look(targets_to_show(self.config, self.journal))
        of = (self.config, self.pipeline, self.journal, self._sampler.errors(), self.clock(), self._standing.changes)
        files = {"lost": list(map(str, self._reload_guard.lost)), "refused": self._reloader.describe_files()}
        known = {"configuration": self.configuration, "history": self.series_writer.status(), "files": files}
        return build_status(*of, self.chat_desk.listeners.errors()) | known

    def _status_threadsafe(self) -> dict[str, object]:
        return asyncio.run_coroutine_threadsafe(self._build_status(), self._loop).result(5)
