"""A real systemd-journald of a test's own, in namespaces with their own /run: the machine's, if it has one, is left alone."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DAEMON = "/lib/systemd/systemd-journald"
_SOCKET = "/run/systemd/journal/socket"
_SPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_START = f"""\
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log && mkdir -p /run/systemd/journal || exit 1
{_DAEMON} &
for _ in $(seq 500); do [ -S {_SOCKET} ] && break; sleep 0.01; done
exec "$@"
"""


def journald_unavailable() -> str | None:
    """What is missing, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path(_DAEMON).exists() or shutil.which("journalctl") is None:
        return "needs systemd-journald"
    probe = subprocess.run([*_SPACES, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False)
    return "needs namespaces" if probe.returncode else None


def run_beside_journald(program: str) -> str:
    """What a Python program prints that has a journal of its own; `write` is for it to write into that."""
    ran = subprocess.run(
        [*_SPACES, "sh", "-c", _START, "sh", sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3_000:]
    return ran.stdout


def write(message: bytes, unit: str = "bot.service", field: str = "OBJECT_SYSTEMD_UNIT") -> None:
    """As root may: an entry about a unit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sized = b"MESSAGE\n" + struct.pack("<Q", len(message)) + message
        sender.sendto(sized + f"\n{field}={unit}\n".encode(), _SOCKET)


def sync() -> None:
    """Until everything that was sent is in the journal."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=True)
