"""Ports for what is told beforehand where to listen."""

from __future__ import annotations

import itertools
import os
import random
import socket

_PORTS = range(15_000, 32_000)
"""Below those that the kernel gives to whoever does not care: of these nobody gets one between our look and the listening."""
_numbers = itertools.count(random.Random(os.getpid()).randrange(len(_PORTS)))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One on loopback that this process has not named before, and on which nobody listens."""
    for number in itertools.islice(_numbers, len(_PORTS)):
        port = _PORTS[number % len(_PORTS)]
        with socket.socket(socket.AF_INET, kind) as door:
            try:
                door.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
