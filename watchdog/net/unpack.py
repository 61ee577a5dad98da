"""The body of an answer as it was before it was packed, never more of it at a time than may be kept."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterable

from watchdog.net.exchange_errors import size_error


def unpack(chunks: Iterable[bytes], encoding: str | None, url: str, max_bytes: int) -> bytes:
    """`encoding`: the header of that name. Raises HttpError for more than `max_bytes`, IncompleteRead for what is not whole, and
    zlib.error for what is no such thing, or has something else behind it."""
    packed = (encoding or "identity").strip().lower()
    if packed not in ("identity", "gzip", "x-gzip", "deflate"):
        raise zlib.error(packed)
    body, unpacker = bytearray(), None if packed == "identity" else _Decompressor(packed)
    for chunk in chunks:
        body += chunk if unpacker is None else unpacker.feed(chunk, max_bytes + 1 - len(body))
        if len(body) > max_bytes:  # unpacked: a small answer may unfold into a large page
            raise size_error(url, max_bytes)
    if unpacker is not None and not unpacker.finished:
        raise http.client.IncompleteRead(b"")
    return bytes(body)


class _Decompressor:
    """gzip (of several members, too, and with zeros behind the last) and deflate, at most so many bytes at a time."""

    def __init__(self, packed: str) -> None:
        self._bits = zlib.MAX_WBITS if packed == "deflate" else 16 + zlib.MAX_WBITS
        self._member = zlib.decompressobj(self._bits)
        self._is_padding = False
        self.finished = False

    def feed(self, chunk: bytes, most: int) -> bytes:
        found = b""
        while chunk and len(found) < most:
            if self._member.eof:
                rest = chunk.lstrip(b"\0")
                self._is_padding |= len(rest) < len(chunk)  # what pads to a block's length, as of tapes
                if not rest:
                    break
                if self._is_padding:
                    raise zlib.error("something stands behind the padding")
                self._member = zlib.decompressobj(self._bits)
            found += self._member.decompress(chunk, most - len(found))
            chunk = self._member.unused_data or self._member.unconsumed_tail
        self.finished = self._member.eof
        return found
