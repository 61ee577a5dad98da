"""What systemd is told about us: ready, alive, reloading, stopping. Silent where nobody asked."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Sends state lines such as ``READY=1`` to ``$NOTIFY_SOCKET``; does nothing without one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        try:
            door.sendto("\n".join(lines).encode(), address)
        except OSError:
            return  # systemd will notice the silence; there is nobody else to tell
