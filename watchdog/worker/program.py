"""Begins this package's own processes. Light, for a broker is begun before all else: the standard library only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

PROGRAM = os.path.join(os.path.dirname(__file__), "__main__.py")  # noqa: PTH118, PTH120 - pathlib is slow to import
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ")
"""Of our own environment, what every worker gets; everything else may hold secrets."""


def own_environment(name: str, home: str) -> dict[str, str]:
    """The whole environment of a process of that user: what it would have, and nothing of ours that may be secret."""
    passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    own = {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh"}
    return {"PATH": _DEFAULT_PATH, **own, **passed}


def start(arguments: Sequence[str], environment: dict[str, str], control: socket.socket) -> subprocess.Popen[bytes]:
    """``worker/__main__.py`` with these arguments; it ends when the other end of `control` is closed. Raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-I", PROGRAM, *arguments],
        cwd="/",
        env=environment,
        start_new_session=True,
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def start_broker(config: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The broker for the configuration of that full path, and the socket over which it is asked: see `launch.Broker`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        return ours, start(("broker", config), own_environment("root", "/root"), theirs)
