"""Asks workers: one connection for each call that is under way, kept for the next one afterwards."""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from watchdog.core.errors import ActionError
from watchdog.core.executor import call_deadline
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action
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
"""Seconds that a call may take whose caller says nothing."""
_MAX_LINES, _MAX_CHILDREN = 100, 1_000
"""Lines for the log, and children that were started, in one call: whose hands it is in could go on without end."""
_MAX_IDLE = 2
"""Connections to one account that are kept for the next calls."""


class WorkerExecutor:
    """Carries everything out in worker processes on this machine. From any thread."""

    def __init__(self) -> None:
        self._accounts: dict[int, _AccountWorkers] = {}
        self._lock = threading.Lock()

    def act_as_owner(self, action: Action, target: Target) -> Action:
        return RemoteAction(action, target, self) if action.runs_as_owner else action

    def call(self, target: Target, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert not kwargs
        account = target_account(target)
        return cast(T, self._workers(account).call(function, args))

    def warm_up(self, target: Target) -> None:
        """Has a worker ready ahead of the first call. What keeps it from being begun is said now, not first in the night."""
        try:
            self._workers(target_account(target)).warm_up()
        except ActionError as error:
            log.warning("nothing can be done to a target: %s", error)

    def close(self) -> None:
        with self._lock:
            for workers in self._accounts.values():
                workers.close()
            self._accounts.clear()

    def _workers(self, account: Account) -> _AccountWorkers:
        with self._lock:
            if account.uid not in self._accounts:
                self._accounts[account.uid] = _AccountWorkers(account)
            return self._accounts[account.uid]


class _AccountWorkers:
    """The workers of one account: a server, and the connections to it that nobody uses right now."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._server: launch.Server | None = None
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        with self._lock:
            if self._idle:
                return
        self._give_back(self._connect())

    def call(self, function: Callable[..., Any], args: tuple[object, ...]) -> Any:
        deadline = call_deadline.get() or time.monotonic() + _DEFAULT_TIMEOUT
        question, input_file = functions.encode(function, args), functions.input_file(function, args)
        try:
            connection = self._ask(question, input_file, deadline)
            try:
                answer = self._await_answer(connection, deadline)
            except BaseException:
                with contextlib.suppress(wire.WireError, wire.DeadlineError):
                    wire.send(connection, b"X", None, deadline=time.monotonic())
                connection.close()
                raise
        except wire.DeadlineError:
            raise ActionError("it did not end in time, and was ended", may_have_happened=True) from None
        except wire.WireError as problem:
            raise ActionError(f"the worker of {self._account.name}: {problem}", may_have_happened=True) from None
        self._give_back(connection)
        return functions.decode(function, self._result(answer))

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
            if self._server is not None:
                self._server.close()
                self._server = None

    def _ask(self, question: JsonObject, input_file: Path | None, deadline: float) -> socket.socket:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                _send(connection, question, input_file, deadline)
                return connection
            except wire.WireError:  # it ended while nobody used it: nothing was asked yet
                connection.close()
            except BaseException:
                connection.close()
                raise
        connection = self._connect()
        try:
            _send(connection, question, input_file, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

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

    def _give_back(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _await_answer(self, connection: socket.socket, deadline: float) -> Any:
        """What the worker says in the end. What it does meanwhile is written down first. Raises WireError, DeadlineError."""
        lines = children = 0
        while True:
            frame = wire.receive(connection, deadline)
            if frame is None:
                raise wire.WireError("it ended, and did not say how far it got")
            lines, children = lines + (frame.kind == b"L"), children + (frame.kind == b"C")
            if lines > _MAX_LINES or children > _MAX_CHILDREN:
                raise wire.WireError("it said more than any worker says")
            match frame.kind, frame.data:
                case b"A", dict(answer):
                    return answer
                case b"C", [int(pid), int() | float() as started]:
                    if (note := on_child_started.get()) is not None:
                        note(pid, started)
                    wire.send(connection, b"K", None, deadline)
                case b"L", [int(level), str(text)]:
                    log.log(min(level, logging.WARNING), "%s: %s", self._account.name, text)
                case _:
                    raise wire.WireError("it said what no worker says")

    def _result(self, answer: JsonObject) -> Any:
        if "error" not in answer:
            return answer.get("result")
        if "traceback" in answer:
            log.error("the worker of %s: %s", self._account.name, answer["traceback"])
        raise ActionError(str(answer["error"])[:4_000], may_have_happened=answer.get("may_have_happened") is True)


def _send(connection: socket.socket, question: JsonObject, input_file: Path | None, deadline: float) -> None:
    """Raises WireError, DeadlineError, and ActionError when the file cannot be read."""
    if input_file is not None:
        try:
            with input_file.open("rb") as file:
                while chunk := file.read(CHUNK):
                    wire.send(connection, b"D", base64.b64encode(chunk).decode(), deadline)
        except OSError as error:
            raise ActionError(f"{input_file}, which was saved, cannot be read: {error.strerror}") from None
    wire.send(connection, b"Q", question, deadline)
