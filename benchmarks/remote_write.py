"""Samples as a remote-write request: protobuf within snappy, both by hand, since only a corner of each is needed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from benchmarks.cases import Floats
from watchdog.core.model import Labels

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_T_BYTES = 6
"""Bytes of a time in ms as a varint: from 2004 to 2109."""


def encode_request(series: Iterable[tuple[str, Labels, npt.NDArray[np.int64], Floats]]) -> bytes:
    """Name, labels, times in ms (ascending) and values of each series → the body of one POST."""
    plain = b"".join(_encode_field(1, _encode_series(name, labels, t, v)) for name, labels, t, v in series)
    # Snappy may leave everything as it is: the length, then one literal with a length of four bytes.
    return _encode_varint(len(plain)) + b"\xfc" + (len(plain) - 1).to_bytes(4, "little") + plain


def _encode_series(name: str, labels: Labels, t: npt.NDArray[np.int64], v: Floats) -> bytes:
    pairs = sorted([("__name__", name), *labels])
    named = b"".join(
        _encode_field(1, _encode_field(1, key.encode()) + _encode_field(2, text.encode())) for key, text in pairs
    )
    return named + _encode_samples(t, v)


def _encode_samples(t: npt.NDArray[np.int64], v: Floats) -> bytes:
    """All of one size, so they are laid out as a matrix: tag, length, tag of the value, value, tag of the time, time."""
    cells = np.empty((t.size, 4 + 8 + _T_BYTES), np.uint8)
    cells[:, :3] = (0x12, 8 + _T_BYTES + 2, 0x09)
    cells[:, 3:11] = v.astype("<f8").view(np.uint8).reshape(-1, 8)
    cells[:, 11] = 0x10
    for place in range(_T_BYTES):
        more = 0x80 if place < _T_BYTES - 1 else 0
        cells[:, 12 + place] = ((t >> (7 * place)) & 0x7F) | more
    return cells.tobytes()


def _encode_field(number: int, content: bytes) -> bytes:
    return _encode_varint(number << 3 | 2) + _encode_varint(len(content)) + content


def _encode_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
