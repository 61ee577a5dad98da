"""Frames on a stream socket: one byte of kind, four of length, the payload. Both ends distrust the lengths of the other."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, NoReturn

MAX_BYTES = 16 << 20
"""Bytes of one frame; files travel in pieces."""
_MAX_PARTS = 500_000
"""Objects, lists, texts and numbers of one frame: as JSON they are a few bytes each, and a hundred when they are read."""
_HEADER = struct.Struct("!cI")

FrameKind = Literal[b"D", b"Q", b"A", b"N", b"L", b"C", b"K", b"X"]
"""From the caller: ``D`` bytes that go with the next question, as base64; ``Q`` the question; ``K`` that was written down, go on;
``X`` nobody waits any more. From the worker: ``L`` a line for the log; ``C`` a child was started; ``A`` the answer; ``N``
that another process must be asked, and nothing was done: this one is held to other folders."""


class WireError(Exception):
    """The other end sent what is no frame, or is gone."""


class UnreadError(WireError):
    """The other end is gone, and has not read all that was sent to it: so does the kernel tell of a stream of this machine."""


class DeadlineError(Exception):
    """The other end did not answer in time."""


class Frame(NamedTuple):
    kind: bytes
    data: Any
    """JSON."""


def send(connection: socket.socket, kind: FrameKind, data: object, deadline: float | None = None) -> None:
    """Blocks until the kernel has it. `deadline`: monotonic seconds. Raises WireError, DeadlineError."""
    payload = json.dumps(data, separators=(",", ":")).encode()
    if len(payload) > MAX_BYTES:
        raise WireError(f"{len(payload)} bytes are more than one frame takes ({MAX_BYTES})")
    with _until(connection, deadline) as time_left:
        time_left()
        connection.sendall(_HEADER.pack(kind, len(payload)) + payload)


def receive(connection: socket.socket, deadline: float | None = None) -> Frame | None:
    """The next frame; None when the other end has closed. `deadline`: monotonic seconds. Raises WireError, DeadlineError."""
    header = _read(connection, _HEADER.size, deadline)
    if not header:
        return None
    kind, size = _HEADER.unpack(header)
    if size > MAX_BYTES:
        raise WireError(f"a frame of {size} bytes is larger than any")
    payload = _read(connection, size, deadline) if size else b""
    if len(payload) < size:
        raise WireError("the other end stopped in the middle of a frame")
    if not _has_few_parts(payload):
        raise WireError("a frame holds more parts than any")
    try:
        return Frame(kind, json.loads(payload, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        raise WireError("a frame holds no JSON") from None


def _has_few_parts(payload: bytes) -> bool:
    """Told without reading it: what it would become could take all memory, and every other thread's turn for seconds."""
    if len(payload) <= _MAX_PARTS:
        return True
    without_escapes = payload.replace(rb"\\", b"").replace(rb"\"", b"")
    if without_escapes.count(b'"') > 2 * _MAX_PARTS:
        return False
    outside_of_texts = b"".join(without_escapes.split(b'"')[::2])
    return sum(map(outside_of_texts.count, (b",", b"[", b"{"))) <= _MAX_PARTS


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    """That many bytes; none when the stream has ended ahead of the first."""
    found = bytearray()
    with _until(connection, deadline) as time_left:
        while len(found) < size:
            time_left()
            chunk = connection.recv(min(size - len(found), 1 << 20))
            if not chunk:
                if found:
                    raise WireError("the other end stopped in the middle of a frame")
                return b""
            found += chunk
    return bytes(found)


@contextlib.contextmanager
def _until(connection: socket.socket, deadline: float | None) -> Iterator[Callable[[], None]]:
    """What is called ahead of each call to the kernel, so that none lasts beyond the deadline. Raises WireError, DeadlineError."""

    def time_left() -> None:
        if deadline is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise DeadlineError
            connection.settimeout(remaining)

    try:
        yield time_left
    except TimeoutError:
        raise DeadlineError from None
    except ConnectionResetError as problem:
        raise UnreadError(f"the other end is gone: {problem.strerror}") from None
    except OSError as problem:
        raise WireError(f"the other end is gone: {problem.strerror or problem}") from None
    finally:
        if deadline is not None:
            with contextlib.suppress(OSError):
                connection.settimeout(None)
