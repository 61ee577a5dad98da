"""What stays root when the daemon, begun by root without systemd, has let go: it begins workers, and restarts units.

``python -I -m watchdog.worker broker CONFIG``: a process of its own, its environment made from a list. It reads the configuration
(as a whole process that ends again), for the accounts and units that are named there; nothing else that is asked of it is
done. It parses no page, no chat, no journal and nothing of a bot's.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import sys
import time
from typing import NoReturn

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.host import child_process, systemctl
from watchdog.host.account import account_by_uid, become
from watchdog.worker import wire
from watchdog.worker.launch import worker_environment
from watchdog.worker.program import PROGRAM
from watchdog.worker.server import Server, preload

_MAX_BYTES = 65_536
_RELOAD_INTERVAL = 1.0
"""Seconds: a question about what is not allowed has the files read again at most so often."""


class Allowed:
    """Accounts and units that the files have named since the start. What was removed meanwhile may be under way still."""

    def __init__(self, config: str) -> None:
        self._config = config
        self._accounts: set[int] = set()
        self._units: set[str] = set()
        self._read_at = float("-inf")
        self._told = False

    def tell(self, found: JsonObject) -> None:
        """What root has read of the files before it let go: the first that is said, and nothing that is said later."""
        if not self._told:
            self._told = True
            self._add(found)

    def account(self, uid: int) -> bool:
        return uid in self._accounts or (self._read() and uid in self._accounts)

    def unit(self, operation: str) -> bool:
        """``restart trading-bot.service``."""
        return operation in self._units or (self._read() and operation in self._units)

    def _read(self) -> bool:
        """Reads the files once more, in a process of its own, unless that was just done."""
        if time.monotonic() < self._read_at + _RELOAD_INTERVAL:
            return False
        with contextlib.suppress(ActionError, ValueError, KeyError, TypeError):
            argv = [sys.executable, "-I", PROGRAM, "allowed", self._config]
            found = json.loads(child_process.run(argv, timeout_ms=30_000, output_limit=1 << 20).stdout_bytes)
            self._add(found)
        self._read_at = time.monotonic()
        return True

    def _add(self, found: JsonObject) -> None:
        self._accounts |= {*found["accounts"]}
        self._units |= {*found["units"]}


def serve(control: socket.socket, allowed: Allowed) -> None:
    """Until the daemon is gone. Each question brings the socket over which it is answered, by a process of its own."""
    while True:
        handles = array.array("i")
        try:
            text, ancillary, _, _ = control.recvmsg(_MAX_BYTES, socket.CMSG_SPACE(handles.itemsize))
        except OSError:
            return
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                handles.frombytes(data[: handles.itemsize])
        if not handles:
            return
        _reap()
        with socket.socket(fileno=handles[0]) as connection:
            try:
                question = json.loads(text)
                if question["do"] == "tell":
                    allowed.tell(question["allowed"])
                    continue
                problem = _refusal(question, allowed)
            except (ValueError, KeyError, TypeError, RecursionError):
                problem = "the question cannot be read"
            with contextlib.suppress(OSError):
                wire.send(connection, b"A", {"error": problem} if problem else {})
                if problem is None and os.fork() == 0:
                    control.close()
                    _carry_out(question, connection)


def _refusal(question: JsonObject, allowed: Allowed) -> str | None:
    """Why it is not done; None: it is."""
    if question["do"] == "worker":
        return (
            None
            if allowed.account(question["uid"])
            else f"no target or source of the files belongs to user {question['uid']}"
        )
    if question["do"] == "systemctl":
        verb, unit = question["verb"], question["unit"]
        operation = f"start {systemctl.mask_service(unit)}" if verb == "mask" else f"{verb} {unit}"
        return None if allowed.unit(operation) else f"no plan of the files may {verb} {unit}"
    return "nobody knows how"


def _carry_out(question: JsonObject, connection: socket.socket) -> NoReturn:
    """In a process of its own."""
    try:
        if question["do"] == "worker":
            os.setsid()
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            account = account_by_uid(question["uid"], question["gid"])
            environment = worker_environment(account)
            os.environ.clear()
            os.environ.update(environment)
            become(account)
            Server(connection, control=True).serve()
        else:
            ran = systemctl.run_systemctl(
                question["verb"], "--", question["unit"], timeout_ms=float(question["timeout_ms"])
            )
            wire.send(connection, b"A", {"exit_code": ran.exit_code, "stdout": ran.stdout, "stderr": ran.stderr})
    except ActionError as error:
        wire.send(connection, b"A", {"error": str(error), "may_have_happened": error.may_have_happened})
    finally:
        os._exit(0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with the daemon, which ends in good order
    control = socket.socket(fileno=os.dup(0))
    control.set_inheritable(False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    preload()
    serve(control, Allowed(sys.argv[1]))
    return 0
