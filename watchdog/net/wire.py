"""Sockets under a total deadline.

Time-outs of sockets are counted anew for every read, so a server that drips a byte a second would hold a thread for ever.
Here everything that may block is given what is left of the whole.
"""

from __future__ import annotations

import http.client
import io
import socket
from typing import Any

from watchdog.net.deadline import Deadline

_MAX_INTERIM = 20
"""Answers (1xx) that are passed over."""


def open_socket(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connection to the first address of `host` that takes one; its time-out is what is left. Raises OSError.

    Each address is given its share of the time, so that one which answers nothing does not use up that of the others.
    Looking up the name is not under the deadline: no resolver can be stopped.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    problem: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        wire = socket.socket(family, kind, protocol)
        try:
            wire.settimeout(deadline.remaining() / (len(addresses) - number))
            wire.connect(address)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.settimeout(deadline.remaining())
        except OSError as error:
            wire.close()
            problem = error
        except BaseException:
            wire.close()
            raise
        else:
            return wire
    raise problem


class _DeadlineReader(io.RawIOBase):
    """The reading end of a socket; every read may take only the time that is left in all."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: Deadline) -> None:
        self._sock, self._raw, self._deadline = sock, raw, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.remaining())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PiecewiseReader(io.BufferedReader):
    """Is never read to its end in one go, which is what the libraries make of a chunk whose size is negative."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise http.client.HTTPException("a size below 0")
        return super().read(size)


class _Response(http.client.HTTPResponse):
    """Passes over what is announced ahead of the answer (1xx): 103 Early Hints, 102 Processing."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MAX_INTERIM):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # the typeshed leaves it out
            if not 100 <= found[1] < 200 or found[1] == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return found
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {_MAX_INTERIM} answers ahead of the answer")


def deadline_response(self: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
    """The `response_class` of a connection of http.client or urllib3: called as its method, reads until its `deadline`."""
    response = _Response(sock, *args, **kwargs)
    raw: Any = response.fp
    response.fp = _PiecewiseReader(_DeadlineReader(sock, raw.detach(), self.deadline))
    return response
