"""How a worker comes to be: begun by us, by systemd, or by nobody."""

from __future__ import annotations

import array
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from watchdog.core.errors import ActionError
from watchdog.host.account import Account, own_account

SOCKETS = Path("/run/trading-watchdog-worker")
"""Where systemd listens for each account (``trading-watchdog-worker@USER.socket``); only root writes there."""
_UNIT_INSTANCE = re.compile(r"[\w.:@][\w.:@-]*", re.ASCII)
"""Names of users that can be said in a unit's name; the others are said by number."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ")
"""Of our own environment, what every worker gets; everything else may hold secrets."""


class SystemdServer:
    """One that systemd begins at the first connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self) -> socket.socket:
        """Raises OSError when systemd does not listen there."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Its connections are closed by whoever has them; it is systemd's."""


class WorkerServer:
    """A server that we have begun ourselves. `connect` may be called from any thread."""

    def __init__(self, account: Account) -> None:
        """Raises ActionError when it cannot be begun."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-m", "watchdog.worker", json.dumps(account)],
                    cwd="/",
                    env=worker_environment(account),
                    start_new_session=True,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except (OSError, subprocess.SubprocessError) as problem:
                ours.close()
                raise ActionError(f"no worker could be begun as {account.name}: {problem}") from None
        self._control = ours

    def connect(self) -> socket.socket:
        """Raises OSError when the server is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            handles = array.array("i", [theirs.fileno()])
            try:
                self._control.sendmsg([b"c"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
            except OSError:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """It ends by itself, and what it has forked with its connections."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


Server = WorkerServer | SystemdServer


def worker_environment(account: Account) -> dict[str, str]:
    """The whole environment of a worker: what its user would have, and nothing of ours that may be secret."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    own = {"HOME": account.home, "USER": account.name, "LOGNAME": account.name, "SHELL": "/bin/sh"}
    return {"PATH": _DEFAULT_PATH, **own, **passed}


def begin(account: Account) -> Server:
    """Raises ActionError when nobody here may act as that account."""
    if os.geteuid() in (0, account.uid):
        return WorkerServer(account)
    number = str(account.uid)
    for name in (account.name, number):
        if (path := SOCKETS / f"{name}.sock").exists():
            return SystemdServer(path)
    name = account.name if _UNIT_INSTANCE.fullmatch(account.name) else number
    raise ActionError(
        f"{own_account().name} may not act as {account.name} — "
        f"systemctl enable --now trading-watchdog-worker@{name}.socket, or run the watchdog as {account.name}"
    )
