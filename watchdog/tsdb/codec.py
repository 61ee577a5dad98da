"""Times and values as few bytes. What is unpacked is what was packed, bit for bit.

Times are packed as differences of differences: a steady beat costs next to nothing. Values take the shorter of two ways:

- as whole numbers times a power of ten, where every one of them is exactly that (counters, prices): their differences;
- else as their bits, each XORed with the one before.

Both are laid out byte by byte of the same rank side by side, which is what zlib likes.
"""

from __future__ import annotations

import zlib

import numpy as np

from watchdog.tsdb.page import Floats, Ints

__all__ = [
    "CorruptDataError",
    "pack_samples",
    "pack_times",
    "pack_values",
    "unpack_samples",
    "unpack_times",
    "unpack_values",
]

_KIND_BITS, _KIND_CONSTANT = 255, 254
"""First byte of packed values: their bits; one value, repeated. Below that: the power of ten of whole numbers."""
_DECIMAL_KINDS = 7
_MAX_EXACT_INTEGER = 2.0**53
_ZLIB_LEVEL = 6
_ZLIB_FAST_LEVEL = 1


class CorruptDataError(Exception):
    """These bytes are not what was packed."""


def pack_times(t: Ints) -> bytes:
    """[n] ms."""
    return _compress(_deltas(_deltas(t)))


def unpack_times(data: bytes, n: int) -> Ints:
    """Raises DamagedError."""
    return np.cumsum(np.cumsum(_decompress(data, n)))


def pack_values(v: Floats) -> bytes:
    """[n] values, any bits."""
    bits = np.ascontiguousarray(v).view(np.int64)
    if v.size and (bits == bits[0]).all():
        return bytes([_KIND_CONSTANT]) + bits[:1].astype("<i8").tobytes()
    plain = bytes([_KIND_BITS]) + _compress(_xor_deltas(bits[None, :])[0])
    whole = _scaled_integers(v)
    if whole is None:
        return plain
    ten, numbers = whole
    return min(plain, bytes([ten]) + _compress(_deltas(numbers)), key=len)


def unpack_values(data: bytes, n: int) -> Floats:
    """Raises DamagedError."""
    kind, rest = data[0] if data else -1, data[1:]
    if kind == _KIND_CONSTANT and len(rest) == 8:
        return np.full(n, np.frombuffer(rest, "<i8")).view(np.float64)
    if kind == _KIND_BITS:
        return np.bitwise_xor.accumulate(_decompress(rest, n)).view(np.float64)
    if 0 <= kind < _DECIMAL_KINDS:
        return np.asarray(np.cumsum(_decompress(rest, n)) / 10.0**kind)
    raise CorruptDataError("values of an unknown kind")


def pack_samples(ids: Ints, t: Ints, v: Floats) -> bytes:
    """A few samples of many series that share their times: v is [ids, n]. Quick, and not as small as it could be."""
    bits = _xor_deltas(np.ascontiguousarray(v).view(np.int64))
    numbers = np.concatenate((ids.astype(np.int64), _deltas(_deltas(t)), bits.ravel()))
    return _compress(numbers, _ZLIB_FAST_LEVEL)


def unpack_samples(data: bytes, rows: int, n: int) -> tuple[Ints, Ints, Floats]:
    """ids, t, v. Raises DamagedError."""
    numbers = _decompress(data, rows + n + rows * n)
    t = np.cumsum(np.cumsum(numbers[rows : rows + n]))
    bits = np.bitwise_xor.accumulate(numbers[rows + n :].reshape(rows, n), axis=1)
    return numbers[:rows].copy(), t, bits.view(np.float64)


def _scaled_integers(v: Floats) -> tuple[int, Ints] | None:
    """The power of ten by which all of them are whole, and those numbers. None when there is none, or it loses a bit."""
    with np.errstate(all="ignore"):
        if not (np.abs(v) < _MAX_EXACT_INTEGER).all():
            return None
        for ten in range(_DECIMAL_KINDS):
            scaled = np.rint(v * 10.0**ten)
            if not (np.abs(scaled) < _MAX_EXACT_INTEGER).all():
                return None
            numbers = scaled.astype(np.int64)
            if (np.asarray(numbers / 10.0**ten).view(np.int64) == v.view(np.int64)).all():
                return ten, numbers
            if ten == 0 and not _is_decimal(v[:16]):
                return None
    return None


def _is_decimal(v: Floats) -> bool:
    """Whether a few of them have at most so many places: spares most series the whole search."""
    most = 10.0 ** (_DECIMAL_KINDS - 1)
    return bool((np.rint(v * most) / most == v).all())


def _deltas(numbers: Ints) -> Ints:
    """First the number, then how it goes on. Differences may wrap around; so does adding them up again."""
    return np.diff(numbers, prepend=np.int64(0))


def _xor_deltas(bits: Ints) -> Ints:
    """[rows, n]; each with the one before in its row."""
    out = bits.copy()
    out[:, 1:] ^= bits[:, :-1]
    return out


def _compress(numbers: Ints, level: int = _ZLIB_LEVEL) -> bytes:
    zigzag = (numbers << 1) ^ (numbers >> 63)
    return zlib.compress(zigzag.astype("<i8").view(np.uint8).reshape(-1, 8).T.tobytes(), level)


def _decompress(data: bytes, n: int) -> Ints:
    try:
        raw = zlib.decompress(data, bufsize=max(8 * n, 64))
    except zlib.error as error:
        raise CorruptDataError(str(error)) from None
    if len(raw) != 8 * n:
        raise CorruptDataError(f"{len(raw)} bytes instead of {8 * n}")
    zigzag = np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(8, n).T).view("<i8").ravel().astype(np.int64)
    return ((zigzag >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(zigzag & 1)
