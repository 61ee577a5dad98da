"""What runs under the owner's account: a server that forks one process for each connection.

The server itself parses nothing. It ends a process whose connection was closed and that does not end by itself, so a call
that hangs, in whatever, is over at the caller's deadline.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from watchdog.host.account import Account, become
from watchdog.worker import functions, scratch
from watchdog.worker.functions import COMMAND_FUNCTIONS
from watchdog.worker.session import run_session

_GRACE = 1.0
"""Seconds that a process has to end by itself after its connection was closed."""
_PR_SET_PDEATHSIG = 1
_IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
"""They are errors to us, and `subprocess` gives them back to whatever it starts."""
_MAX_CHILDREN = 256
"""Connections at a time; further ones wait until one ends."""


_LATER_IMPORTED = (
    "ast",
    "gzip",
    "lzma",
    "bz2",
    "psutil",
    "tarfile",
    "tokenize",
    "tomllib",
    "encodings.ascii",
    "encodings.idna",
    "encodings.utf_8_sig",
    "encodings.latin_1",
    "encodings.iso8859_1",
    "encodings.cp1252",
    "difflib",
    "encodings.unicode_escape",
    "zoneinfo",
)
"""What actions and sources import when they need it: here once for all that are forked, and while we may still read it."""


def preload() -> None:
    for name in (*_LATER_IMPORTED, *COMMAND_FUNCTIONS):
        importlib.import_module(name)
    functions.prepare()


def _hear_signals() -> None:
    """What we ignore, or were begun ignoring (`nohup`, a shell's `&`), programs and bots would ignore, too."""
    for number in signal.valid_signals() - _IGNORED_BY_PYTHON:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            with contextlib.suppress(OSError, ValueError):  # the kernel's own
                signal.signal(number, signal.SIG_DFL)


class _Child:
    """A forked process, and the connection that it serves: held here to see it closed, never read."""

    def __init__(self, pid: int, connection: socket.socket, folder: Path) -> None:
        self.pid = pid
        self.folder = folder
        """What it may make for itself."""
        self.handle = os.pidfd_open(pid)
        self.connection = connection
        self.kill_at: float | None = None


class Server:
    """Accepts connections and tends their processes, in one thread."""

    def __init__(self, listener: socket.socket, *, control: bool) -> None:
        """`control`: connections are handed over that socket, one descriptor a message; else they are accepted."""
        self._listener = listener
        self._control = control
        self._scratch = scratch.ScratchFolders()
        self._children: dict[int, _Child] = {}
        """By each descriptor under which something is heard of it."""
        self._poll = select.epoll()

    def serve(self) -> None:
        """Until the listener is closed at its other end, or SIGTERM. Processes at work end with their connections."""
        try:
            self._serve()
        finally:
            self._scratch.close()

    def _serve(self) -> None:
        gc.freeze()  # what is loaded by now stays shared with all that are forked
        self._poll.register(self._listener, select.EPOLLIN)
        while True:
            for handle, _ in self._poll.poll(self._next_kill()):
                if handle == self._listener.fileno():
                    connection = self._next_connection()
                    if connection is not None:
                        self._fork(connection)
                    elif self._control:
                        return
                elif handle in self._children:
                    self._tend(self._children[handle], handle)
            for child in {*self._children.values()}:
                if child.kill_at is not None and time.monotonic() >= child.kill_at:
                    child.kill_at = None
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)

    def _next_kill(self) -> float:
        due = [child.kill_at for child in self._children.values() if child.kill_at is not None]
        return max(min(due) - time.monotonic(), 0.0) if due else -1

    def _next_connection(self) -> socket.socket | None:
        try:
            if not self._control:
                return self._listener.accept()[0]
            handles = array.array("i")
            _, ancillary, _, _ = self._listener.recvmsg(1, socket.CMSG_SPACE(handles.itemsize))
        except OSError:
            return None
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                handles.frombytes(data[: handles.itemsize])
        return socket.socket(fileno=handles[0]) if handles else None

    def _fork(self, connection: socket.socket) -> None:
        if len(self._children) >= 2 * _MAX_CHILDREN:
            connection.close()
            return
        try:
            folder = self._scratch.new()
            pid = os.fork()
        except OSError:  # no room on the disk, too many processes: whoever asks hears that it ended
            connection.close()
            return
        if pid == 0:
            self._become_child(connection, folder)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # whichever of us is first: it leads a group before it is asked anything
        child = _Child(pid, connection, folder)
        for handle, events in ((child.handle, select.EPOLLIN), (connection.fileno(), select.EPOLLRDHUP)):
            self._children[handle] = child
            self._poll.register(handle, events)

    def _become_child(self, connection: socket.socket, folder: Path) -> NoReturn:
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _hear_signals()
            self._poll.close()
            self._listener.close()
            for child in {*self._children.values()}:
                os.close(child.handle)
                child.connection.close()
            run_session(connection, folder)
        finally:
            os._exit(1)

    def _tend(self, child: _Child, handle: int) -> None:
        """It has ended, or its connection was closed: then it ends by itself, or is ended."""
        self._poll.unregister(handle)
        del self._children[handle]
        if handle != child.handle:
            child.kill_at = time.monotonic() + _GRACE
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, 0)
        scratch.remove(child.folder)
        os.close(child.handle)
        if child.connection.fileno() in self._children:
            self._poll.unregister(child.connection.fileno())
            del self._children[child.connection.fileno()]
        child.connection.close()  # whoever waits for its answer hears that there is none


def main() -> int:
    """The socket is descriptor 3, as systemd hands it over, and we are who we are to be.

    With one argument it is our standard input, and the argument says who: what root has begun is that account from here on.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload()
    if control := len(sys.argv) > 1:
        become(Account(*json.loads(sys.argv[1])))
    listener = socket.socket(fileno=os.dup(0) if control else 3)
    listener.set_inheritable(False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    Server(listener, control=control).serve()
    return 0
