"""What comes after the head of a request: as much as is taken, by a deadline, and not a byte of the next request."""

from __future__ import annotations

import re
import socket
import time
import zlib
from collections.abc import MutableMapping, Sequence
from email.message import Message

from watchdog.core.inbox import InboxError

_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
_MAX_LINE = 256
"""Bytes of the line ahead of a chunk."""
_MAX_CHUNKS = 20_000
_MAX_TRAILERS = 32
_GZIP = 31
"""What zlib calls it."""


class RequestBody:
    """Of one request. Nothing of it is waited for until it is read."""

    def __init__(
        self,
        headers: Message,
        begun: bytes,
        connection: socket.socket,
        deadline: float,
        waiting: MutableMapping[socket.socket, None],
    ) -> None:
        """`begun`: what came with the head. `deadline`: monotonic seconds by which all of it is there. `waiting`: where the
        connection stands for as long as it is waited for. Raises InboxError where it cannot be known where the body
        ends."""
        self.rest = begun
        """What came behind what was read: once it is `finished`, the beginning of the next request."""
        self._headers, self._connection, self._deadline = headers, connection, deadline
        self._waiting = waiting
        self._chunked, self._length = _framing(headers)
        self._continue = headers.get("Expect", "").strip().lower() == "100-continue"
        self.finished = not self._chunked and not self._length
        """Whether nothing of it is left."""

    def read(self, max_bytes: int) -> bytes:
        """All of it, unpacked. Raises InboxError; OSError when the sender is gone."""
        encoding = self._headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise InboxError(415, "this Content-Encoding is not read - send it as it is, or with gzip")
        if self._length > max_bytes:
            raise _too_large(max_bytes)
        if self._continue and not self.rest and not self.finished:
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_chunks(max_bytes) if self._chunked else self._take(self._length)
        self.finished = True
        self._waiting.pop(self._connection, None)
        return _unpack(body, max_bytes) if "gzip" in encoding else body

    def _read_chunks(self, max_bytes: int) -> bytes:
        found = bytearray()
        for _ in range(_MAX_CHUNKS):
            size = _CHUNK.fullmatch(self._take_line())
            if size is None:
                raise InboxError(400, "the body is no sequence of chunks - send it with a Content-Length")
            length = int(size[1], 16)
            if len(found) + length > max_bytes:
                raise _too_large(max_bytes)
            if not length:
                for _ in range(_MAX_TRAILERS):
                    if not self._take_line():
                        return bytes(found)
                raise InboxError(400, "too much stands behind the body")
            found += self._take(length)
            if self._take(2) != b"\r\n":
                raise InboxError(400, "a chunk of the body is longer than it says")
        raise InboxError(400, f"the body comes in more than {_MAX_CHUNKS} chunks - send larger ones")

    def _take(self, length: int) -> bytes:
        parts, left = [self.rest[:length]], length - len(self.rest)
        if left <= 0:
            self.rest = self.rest[length:]
            return parts[0]
        self.rest = b""
        while left > 0:
            parts.append(self._receive(min(left, 65_536)))
            left -= len(parts[-1])
        return b"".join(parts)

    def _take_line(self) -> bytes:
        """Without its end."""
        while (end := self.rest.find(b"\r\n", 0, _MAX_LINE)) < 0:
            if len(self.rest) >= _MAX_LINE:
                raise InboxError(400, "the body is no sequence of chunks - send it with a Content-Length")
            self.rest += self._receive(4_096)
        line, self.rest = self.rest[:end], self.rest[end + 2 :]
        return line

    def _receive(self, most: int) -> bytes:
        self._waiting.setdefault(self._connection, None)
        self._connection.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            some = self._connection.recv(most)
        except TimeoutError:
            raise InboxError(408, "the request did not come in time - send it in one go") from None
        if not some:
            raise ConnectionError("the sender went away within its request")
        return some


def _framing(headers: Message) -> tuple[bool, int]:
    """Whether it comes in chunks, and how long it is if not. What says both could be read in two ways."""
    lengths: Sequence[str] = [text.strip(" \t") for text in headers.get_all("Content-Length", [])]
    encodings = [text.strip(" \t").lower() for text in headers.get_all("Transfer-Encoding", [])]
    if encodings and encodings != ["chunked"]:
        raise InboxError(501, "of Transfer-Encoding only chunked is understood")
    if len(set(lengths)) > 1 or not all(map(_LENGTH.fullmatch, lengths)) or (lengths and encodings):
        raise InboxError(400, "the request says in several ways how long it is")
    return bool(encodings), int(lengths[0]) if lengths else 0


def _too_large(max_bytes: int) -> InboxError:
    return InboxError(413, f"at most {max_bytes} bytes are taken - send less, or say a larger max_bytes")


def _unpack(body: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InboxError(400, "the body is not what gzip writes") from None
    if len(text) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise InboxError(400, "the body is not one whole gzip stream")
    return text
