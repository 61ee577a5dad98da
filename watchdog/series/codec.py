"""Times and values as few bytes. What is unpacked is what was packed, bit for bit.

Times are packed as differences of differences: a steady beat costs next to nothing. Values take the shorter of two ways:

- as whole numbers times a power of ten, where every one of them is exactly that (counters, prices): their differences;
- else as their bits, each XORed with the one before.

Both are laid out byte by byte of the same rank side by side, which is what zlib likes.
"""

from __future__ import annotations

import zlib

import numpy as np

from watchdog.promql.pages import Floats, Ints

__all__ = ["DamagedError", "pack_sheet", "pack_times", "pack_values", "unpack_sheet", "unpack_times", "unpack_values"]

_BITS, _SAME = 255, 254
"""First byte of packed values: their bits; one value, repeated. Below that: the power of ten of whole numbers."""
_TENS = 7
_WHOLE = 2.0**53
_LEVEL = 6
_QUICK = 1


class DamagedError(Exception):
    """These bytes are not what was packed."""


def pack_times(t: Ints) -> bytes:
    """[n] ms."""
    return _squeeze(_steps(_steps(t)))


def unpack_times(data: bytes, n: int) -> Ints:
    """Raises DamagedError."""
    return np.cumsum(np.cumsum(_spread(data, n)))


def pack_values(v: Floats) -> bytes:
    """[n] values, any bits."""
    bits = np.ascontiguousarray(v).view(np.int64)
    if v.size and (bits == bits[0]).all():
        return bytes([_SAME]) + bits[:1].astype("<i8").tobytes()
    plain = bytes([_BITS]) + _squeeze(_xored(bits[None, :])[0])
    whole = _whole(v)
    if whole is None:
        return plain
    ten, numbers = whole
    return min(plain, bytes([ten]) + _squeeze(_steps(numbers)), key=len)


def unpack_values(data: bytes, n: int) -> Floats:
    """Raises DamagedError."""
    kind, rest = data[0] if data else -1, data[1:]
    if kind == _SAME and len(rest) == 8:
        return np.full(n, np.frombuffer(rest, "<i8")).view(np.float64)
    if kind == _BITS:
        return np.bitwise_xor.accumulate(_spread(rest, n)).view(np.float64)
    if 0 <= kind < _TENS:
        return np.asarray(np.cumsum(_spread(rest, n)) / 10.0**kind)
    raise DamagedError("values of an unknown kind")


def pack_sheet(ids: Ints, t: Ints, v: Floats) -> bytes:
    """A few samples of many series that share their times: v is [ids, n]. Quick, and not as small as it could be."""
    bits = _xored(np.ascontiguousarray(v).view(np.int64))
    numbers = np.concatenate((ids.astype(np.int64), _steps(_steps(t)), bits.ravel()))
    return _squeeze(numbers, _QUICK)


def unpack_sheet(data: bytes, rows: int, n: int) -> tuple[Ints, Ints, Floats]:
    """ids, t, v. Raises DamagedError."""
    numbers = _spread(data, rows + n + rows * n)
    t = np.cumsum(np.cumsum(numbers[rows : rows + n]))
    bits = np.bitwise_xor.accumulate(numbers[rows + n :].reshape(rows, n), axis=1)
    return numbers[:rows].copy(), t, bits.view(np.float64)


def _whole(v: Floats) -> tuple[int, Ints] | None:
    """The power of ten by which all of them are whole, and those numbers. None when there is none, or it loses a bit."""
    with np.errstate(all="ignore"):
        if not (np.abs(v) < _WHOLE).all():
            return None
        for ten in range(_TENS):
            scaled = np.rint(v * 10.0**ten)
            if not (np.abs(scaled) < _WHOLE).all():
                return None
            numbers = scaled.astype(np.int64)
            if (np.asarray(numbers / 10.0**ten).view(np.int64) == v.view(np.int64)).all():
                return ten, numbers
            if ten == 0 and not _is_decimal(v[:16]):
                return None
    return None


def _is_decimal(v: Floats) -> bool:
    """Whether a few of them have at most so many places: spares most series the whole search."""
    most = 10.0 ** (_TENS - 1)
    return bool((np.rint(v * most) / most == v).all())


def _steps(numbers: Ints) -> Ints:
    """First the number, then how it goes on. Differences may wrap around; so does adding them up again."""
    return np.diff(numbers, prepend=np.int64(0))


def _xored(bits: Ints) -> Ints:
    """[rows, n]; each with the one before in its row."""
    out = bits.copy()
    out[:, 1:] ^= bits[:, :-1]
    return out


def _squeeze(numbers: Ints, level: int = _LEVEL) -> bytes:
    zigzag = (numbers << 1) ^ (numbers >> 63)
    return zlib.compress(zigzag.astype("<i8").view(np.uint8).reshape(-1, 8).T.tobytes(), level)


def _spread(data: bytes, n: int) -> Ints:
    try:
        raw = zlib.decompress(data, bufsize=max(8 * n, 64))
    except zlib.error as error:
        raise DamagedError(str(error)) from None
    if len(raw) != 8 * n:
        raise DamagedError(f"{len(raw)} bytes instead of {8 * n}")
    zigzag = np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(8, n).T).view("<i8").ravel().astype(np.int64)
    return ((zigzag >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(zigzag & 1)
