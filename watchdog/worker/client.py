"""Asks workers: one connection for each call that is under way, kept for the next one afterwards."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from watchdog.core.errors import ActionError
from watchdog.core.executor import call_deadline
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, NeededFiles
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.host.account import Account, target_account
from watchdog.host.child_process import on_child_started
from watchdog.host.file_state import CHUNK
from watchdog.worker import functions, launch, wire
from watchdog.worker.remote_action import RemoteAction

P = ParamSpec("P")
T = TypeVar("T")

_DEFAULT_TIMEOUT = 30.0
_MAX_IDLE = 2
"""Connections of one kind that are kept for the next calls."""
_MAX_IDLE_TOGETHER = 32
"""Connections to one account that are kept; the longest unused one goes first."""
_MAX_LOG_LINES = 100
"""Of one call; what comes after them is left out."""
_MAX_PROGRAMS = 1_000
"""That one call starts: the journal writes each of them down while everybody else waits to write."""
_MAX_PID = 1 << 22
"""The kernel's own limit."""


class WorkerExecutor:
    """Carries everything out in worker processes on this machine. From any thread."""

    def __init__(self, timeout: float = _DEFAULT_TIMEOUT) -> None:
        """`timeout`: seconds that a call may take whose caller says nothing (`call_deadline`)."""
        self._timeout = timeout
        self._accounts: dict[int, _AccountWorkers] = {}
        self._closed = False
        self._lock = threading.Lock()

    def act_as_owner(self, action: Action, target: Target) -> Action:
        return cast(Action, RemoteAction(action, target, self)) if action.runs_as_owner else action

    def call(self, target: Target, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert not kwargs
        account = target_account(target)
        return cast(T, self._workers(account).call(function, args, target.repo))

    def warm_up_soon(self, targets: Iterable[Target]) -> None:
        """`warm_up` of all of them, from a thread: nobody waits for it."""
        known = tuple(targets)
        threading.Thread(target=lambda: deque(map(self.warm_up, known), 0), name="warming up", daemon=True).start()

    def warm_up(self, target: Target) -> None:
        """Has workers ready ahead of the first call. What keeps them from being begun is said now, not first in the night."""
        functions.prepare()
        try:
            self._workers(target_account(target)).warm_up(target.repo)
        except ActionError as error:
            if not self._closed:
                log.warning("nothing can be done to a target: %s", error)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for workers in self._accounts.values():
                workers.close()
            self._accounts.clear()

    def _workers(self, account: Account) -> _AccountWorkers:
        with self._lock:
            if self._closed:  # a thread that was to make one ready comes late
                raise ActionError("the watchdog is ending")
            if account.uid not in self._accounts:
                self._accounts[account.uid] = _AccountWorkers(account, self._timeout)
            return self._accounts[account.uid]


class _Kind(NamedTuple):
    """What a process was asked first, and so is held to: whoever is asked the same kind again need not be begun anew."""

    confined: bool
    repo: str | None = None
    elsewhere: frozenset[Path] = frozenset()
    """Folders outside of it."""


def _kind_of(needed: NeededFiles | None, target_repo: str | None) -> _Kind:
    """By the words alone: what they really lead to is for the worker to see."""
    if needed is None:
        return _Kind(confined=False)
    repo = needed.repo or target_repo
    folders = [Path(os.path.normpath(path.parent)) for path in needed.paths]
    elsewhere = {folder for folder in folders if repo is None or not folder.is_relative_to(repo)}
    if needed.remote is not None:
        elsewhere.add(Path(needed.remote))
    return _Kind(True, repo, frozenset(elsewhere))


class _Idle(NamedTuple):
    kind: _Kind
    connection: socket.socket
    getting_ready: bool = False
    """It has been asked to, and has yet to answer."""


class _AccountWorkers:
    """The workers of one account: a server, and the connections to it that nobody uses right now."""

    def __init__(self, account: Account, timeout: float) -> None:
        self._account = account
        self._timeout = timeout
        self._server: launch.Server | None = None
        self._idle: list[_Idle] = []
        """The longest unused one first."""
        self._lock = threading.Lock()

    def warm_up(self, repo: str | None) -> None:
        """One for what is confined to that repository, and one for what is not."""
        with self._lock:
            ready = {each.kind for each in self._idle}
        if (free := _Kind(confined=False)) not in ready:
            self._give_back(_Idle(free, self._connect()))
        if repo is not None and (kind := _Kind(True, repo)) not in ready:
            connection, question = self._connect(), functions.encode(functions.get_ready, (repo,), repo)
            try:
                wire.send(connection, b"Q", question)
            except wire.WireError as problem:
                connection.close()
                raise ActionError(f"the worker of {self._account.name}: {problem}") from None
            self._give_back(_Idle(kind, connection, getting_ready=True))

    def call(self, function: Callable[..., Any], args: tuple[object, ...], repo: str | None) -> Any:
        """`repo`: the target's. Raises ActionError."""
        deadline = call_deadline.get() or time.monotonic() + self._timeout
        question, input_file = functions.encode(function, args, repo), functions.input_file(function, args)
        kind = _kind_of(functions.needed_files(function, args), repo)
        try:
            connection, answer = self._ask_idle(kind, question, input_file, deadline)
            if answer is None:  # there was none, or the folders are others by now
                connection = self._connect()
                answer = self._ask(connection, question, input_file, deadline)
                if answer is None:
                    connection.close()
        except wire.DeadlineError:
            raise ActionError("it did not end in time, and was ended", may_have_happened=True) from None
        except wire.WireError as problem:
            raise ActionError(f"the worker of {self._account.name}: {problem}", may_have_happened=True) from None
        if answer is None or connection is None:
            raise ActionError(f"the worker of {self._account.name} does not do what it was begun for")
        if answer.get("spent"):  # it could not be confined, or has no memory left: another one may
            connection.close()
        else:
            self._give_back(_Idle(kind, connection))
        return functions.decode(function, self._result(answer))

    def close(self) -> None:
        with self._lock:
            for idle in self._idle:
                idle.connection.close()
            self._idle.clear()
            if self._server is not None:
                self._server.close()
                self._server = None

    def _ask_idle(
        self, kind: _Kind, question: JsonObject, input_file: Path | None, deadline: float
    ) -> tuple[socket.socket | None, JsonObject | None]:
        """The answer of one that was kept, and it; None: another one must be asked."""
        idle = self._take_idle(kind)
        if idle is None:
            return None, None
        connection = idle.connection
        if idle.getting_ready:
            try:
                ready = self._await_answer(connection, deadline)
            except (wire.WireError, wire.DeadlineError):
                ready = None
            if ready is None or "error" in ready:
                connection.close()
                return None, None
        if not _is_quiet(connection):
            connection.close()
            return None, None
        try:
            answer = self._ask(connection, question, input_file, deadline)
        except _NotAskedError:  # it ended while nobody used it
            return None, None
        if answer is None and idle.kind != kind:
            self._give_back(_Idle(idle.kind, connection))
        elif answer is None:
            connection.close()
        return connection, answer

    def _ask(
        self, connection: socket.socket, question: JsonObject, input_file: Path | None, deadline: float
    ) -> JsonObject | None:
        """What is answered; None: another one must be asked.

        Raises ActionError when the file cannot be read, WireError, DeadlineError: the connection is closed then, and the
        process ends.
        """
        try:
            _send(connection, question, input_file, deadline)
            return self._await_answer(connection, deadline)
        except BaseException:
            with contextlib.suppress(wire.WireError, wire.DeadlineError):
                wire.send(connection, b"X", None, time.monotonic() + 0.1)
            connection.close()
            raise

    def _take_idle(self, kind: _Kind) -> _Idle | None:
        """One of that kind, else one that is held to the same repository: where that is a link, it is to be seen there."""
        with self._lock:
            alike = [each for each in self._idle if each.kind == kind]
            near = [each for each in self._idle if kind.repo is not None and each.kind.repo == kind.repo]
            found = alike or near
            if found:
                self._idle.remove(found[-1])
            return found[-1] if found else None

    def _connect(self) -> socket.socket:
        """Raises ActionError when nobody here may act as that account, or its worker cannot be begun."""
        with self._lock:
            for _ in range(2):
                if self._server is None:
                    self._server = launch.begin(self._account)
                try:
                    return self._server.connect()
                except OSError as problem:  # somebody has ended it: begun anew, once
                    self._server.close()
                    self._server, why = None, problem
        raise ActionError(f"the worker of {self._account.name} cannot be reached: {why.strerror or why}")

    def _give_back(self, idle: _Idle) -> None:
        with self._lock:
            self._idle.append(idle)
            alike = [each for each in self._idle if each.kind == idle.kind]
            extra = alike[:1] if len(alike) > _MAX_IDLE else self._idle[: len(self._idle) > _MAX_IDLE_TOGETHER]
            for each in extra:
                self._idle.remove(each)
                each.connection.close()

    def _await_answer(self, connection: socket.socket, deadline: float) -> JsonObject | None:
        """What the worker says in the end; None: another one must be asked. What it does meanwhile is written down first.

        It may be anybody's by now who is that account, so nothing that it says is believed further than that account goes.
        Raises WireError, DeadlineError.
        """
        lines = programs = 0
        while True:
            try:
                frame = wire.receive(connection, deadline)
            except wire.UnreadError as problem:
                if lines or programs:  # it was at work, and what it has not read is what we said to that
                    raise
                raise _NotAskedError(*problem.args) from None
            if frame is None:
                raise wire.WireError("it ended, and did not say how far it got")
            match frame.kind, frame.data:
                case b"A", dict(answer):
                    return answer
                case b"N", dict():
                    return None
                case b"C", [int(pid), int() | float() as started] if 0 < pid < _MAX_PID and 0 < started < 1 << 40:
                    programs += 1
                    if programs > _MAX_PROGRAMS:
                        raise wire.WireError("it started more programs than any worker starts")
                    if (note := on_child_started.get()) is not None:
                        note(pid, started)
                    wire.send(connection, b"K", None, deadline)
                case b"L", [int(level), str(text)]:
                    lines += 1
                    if lines > 100 * _MAX_LOG_LINES:
                        raise wire.WireError("it said more than any worker says")
                    if lines <= _MAX_LOG_LINES:
                        log.log(max(0, min(level, logging.WARNING)), "%s: %s", self._account.name, _readable(text))
                case _:
                    raise wire.WireError("it said what no worker says")

    def _result(self, answer: JsonObject) -> Any:
        if "error" not in answer:
            result = answer.get("result")
            return _readable(result, wire.MAX_BYTES) if isinstance(result, str) else result
        if "traceback" in answer:
            log.error("the worker of %s: %s", self._account.name, _readable(str(answer["traceback"])))
        raise ActionError(_readable(str(answer["error"])), may_have_happened=answer.get("may_have_happened") is True)


def _is_quiet(connection: socket.socket) -> bool:
    """False when the other end has closed it, or has said something that nobody asked."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _readable(text: str, limit: int = 4_000) -> str:
    """Without halves of characters, which cannot be stored."""
    return text[:limit].encode(errors="backslashreplace").decode()


class _NotAskedError(wire.WireError):
    """The other end was gone ahead of the question, or has not read it to its end."""


def _send(connection: socket.socket, question: JsonObject, input_file: Path | None, deadline: float) -> None:
    """Raises _NotAskedError, DeadlineError, and ActionError when the file cannot be read."""
    try:
        if input_file is not None:
            with input_file.open("rb") as file:
                while chunk := file.read(CHUNK):
                    wire.send(connection, b"D", base64.b64encode(chunk).decode(), deadline)
        wire.send(connection, b"Q", question, deadline)
    except wire.WireError as problem:
        raise _NotAskedError(*problem.args) from None
    except OSError as error:
        raise ActionError(f"{input_file}, which was saved, cannot be read: {error.strerror}") from None
