"""How many bytes have come over a connection that a library reads: it makes room for whatever the other side says is coming."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import termios

_TCP_INFO_BYTES = 256
_BYTES_RECEIVED = 128
"""Where `tcpi_bytes_received` stands in the kernel's `struct tcp_info`."""
_LEAST_READ = 8_192
"""Bytes that are taken of those that wait, whenever something is read."""


class ReceivedBytes:
    """Of one socket, since this was made. The kernel counts them for TCP; else it is what was seen to leave the queue, at
    least."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_counted = sock.family in (socket.AF_INET, socket.AF_INET6) and self._counter() > 0
        self._begun = self._counter() if self._is_counted else 0
        self._seen = self._waiting = 0

    def note_before_read(self) -> None:
        if not self._is_counted:
            self._waiting = self._queued()

    def note_read(self) -> None:
        if not self._is_counted:
            self._seen += max(self._waiting - self._queued(), min(self._waiting, _LEAST_READ))

    @property
    def count(self) -> int:
        return self._counter() - self._begun if self._is_counted else self._seen

    def _counter(self) -> int:
        told = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(struct.unpack_from("=Q", told, _BYTES_RECEIVED)[0]) if len(told) >= _BYTES_RECEIVED + 8 else 0

    def _queued(self) -> int:
        found = array.array("i", [0])
        fcntl.ioctl(self._sock, termios.FIONREAD, found)
        return found[0]
