"""How a worker comes to be: begun by us, by systemd, or by nobody."""

from __future__ import annotations

import array
import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.host import systemctl
from watchdog.host.account import Account, own_account
from watchdog.host.child_process import CommandResult
from watchdog.worker import program, wire

SOCKETS = Path("/run/trading-watchdog-worker")
"""Where systemd listens for each account (``trading-watchdog-worker@USER.socket``); only root writes there."""
_UNIT_INSTANCE = re.compile(r"[\w.:@][\w.:@-]*", re.ASCII)
"""Names of users that can be said in a unit's name; the others are said by number."""
_ANSWER_TIMEOUT = 30.0
"""Seconds; the first question has the configuration read."""
_CONNECT_TIMEOUT = 5.0
"""Seconds. Whoever is the account can stop its server, so nobody waits for one without end."""


class SystemdServer:
    """One that systemd begins at the first connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self) -> socket.socket:
        """Raises OSError when systemd does not listen there."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_CONNECT_TIMEOUT)
            connection.connect(str(self.path))
            connection.settimeout(None)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Its connections are closed by whoever has them; it is systemd's."""


class ForkServer:
    """One that takes connections over a socket of ours. `connect` may be called from any thread."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        """`process`: it, when it is our child."""
        self._control = control
        self._control.settimeout(_CONNECT_TIMEOUT)
        self._process = process

    def connect(self) -> socket.socket:
        """Raises OSError when the server is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                _send_handle(self._control, b"c", theirs)
            except OSError:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """It ends by itself, and what it has forked with its connections."""
        self._control.close()
        if self._process is not None:
            try:
                self._process.wait(_CONNECT_TIMEOUT)
            except subprocess.TimeoutExpired:  # somebody has stopped it: it may not stop us
                with contextlib.suppress(PermissionError, subprocess.TimeoutExpired):
                    self._process.kill()
                    self._process.wait(_CONNECT_TIMEOUT)


class Broker:
    """Begins workers and asks systemd in the name of root, for a daemon that has let go of it: see `worker.broker`."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """As `worker.program.start_broker` gives them."""
        self._lock = threading.Lock()
        self._control, self._process = control, process

    def tell(self, allowed: JsonObject) -> None:
        """What the files allow (`worker.allowed`), read by root before it lets go: else the broker reads them itself."""
        ours, theirs = socket.socketpair()
        with ours, theirs, contextlib.suppress(OSError), self._lock:
            _send_handle(self._control, json.dumps({"do": "tell", "allowed": allowed}).encode(), theirs)

    def begin(self, account: Account) -> ForkServer:
        """Raises ActionError when no file names a target of that account."""
        connection = self._ask({"do": "worker", "uid": account.uid, "gid": account.gid})
        return ForkServer(connection)

    def systemctl(self, verb: str, unit: str, timeout_ms: float) -> CommandResult:
        """As `host.systemctl.run_systemctl` says it. Raises ActionError, also when no plan of the files may do that."""
        with self._ask({"do": "systemctl", "verb": verb, "unit": unit, "timeout_ms": timeout_ms}) as connection:
            answer = self._receive(connection, timeout_ms / 1_000 + _ANSWER_TIMEOUT)
        out, err = str(answer["stdout"]), str(answer["stderr"])
        return CommandResult(int(answer["exit_code"]), out, err, out.encode(), truncated=False)

    def close(self) -> None:
        """It ends by itself, when the workers that it has begun have."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # somebody has stopped it: it may not stop us
            self._process.wait(_CONNECT_TIMEOUT)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def _ask(self, question: JsonObject) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                _send_handle(self._control, json.dumps(question).encode(), theirs)
            self._receive(ours, _ANSWER_TIMEOUT)
        except OSError as problem:
            ours.close()
            raise ActionError(f"what acts as root is gone: {problem.strerror} — restart the watchdog") from None
        except BaseException:
            ours.close()
            raise
        return ours

    @staticmethod
    def _receive(connection: socket.socket, timeout: float) -> JsonObject:
        try:
            frame = wire.receive(connection, time.monotonic() + timeout)
        except (wire.WireError, wire.DeadlineError):
            frame = None
        if frame is None or not isinstance(frame.data, dict):
            raise ActionError("what acts as root gave no answer", may_have_happened=True)
        if "error" in frame.data:
            raise ActionError(str(frame.data["error"]), may_have_happened=frame.data.get("may_have_happened") is True)
        return frame.data


Server = ForkServer | SystemdServer


def worker_environment(account: Account) -> dict[str, str]:
    """The whole environment of a worker."""
    return program.own_environment(account.name, account.home)


_broker: Broker | None = None


def use_broker(broker: Broker) -> None:
    """From now on it begins the workers of other accounts."""
    global _broker  # noqa: PLW0603 - whether this process was begun by root is one fact of the whole process
    _broker = broker


def describe_problem() -> str | None:
    """Why nothing can be done to targets of others any more; None: nobody has to, or who has to is there."""
    if _broker is None or not _broker.has_ended:
        return None
    return (
        "what acts as root has ended: nothing can be done to bots of other users, nor to units — restart the watchdog"
    )


def begin(account: Account) -> Server:
    """Raises ActionError when nobody here may act as that account."""
    if os.geteuid() in (0, account.uid):
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _start(account, theirs)
            except ActionError:
                ours.close()
                raise
        return ForkServer(ours, process)
    if _broker is not None:
        return _broker.begin(account)
    number = str(account.uid)
    for name in (account.name, number):
        if (path := SOCKETS / f"{name}.sock").exists():
            return SystemdServer(path)
    name = account.name if _UNIT_INSTANCE.fullmatch(account.name) else number
    if systemctl.is_booted():
        cure = f"systemctl enable --now trading-watchdog-worker@{name}.socket, or run the watchdog as {account.name}"
    else:
        cure = f"run it as root, which becomes {account.name} for that, or as {account.name}"
    raise ActionError(f"{own_account().name} may not act as {account.name} — {cure}")


def _start(account: Account, control: socket.socket) -> subprocess.Popen[bytes]:
    try:
        return program.start((json.dumps(account),), worker_environment(account), control)
    except OSError as problem:
        raise ActionError(f"no worker could be begun as {account.name}: {problem}") from None


def _send_handle(control: socket.socket, text: bytes, handle: socket.socket) -> None:
    """Raises OSError, also when so much waits there that nobody can be reading any more."""
    handles = array.array("i", [handle.fileno()])
    control.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)], socket.MSG_DONTWAIT)
