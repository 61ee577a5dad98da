"""How the daemon and the process that answers its queries talk: frames of bytes over a socket, series as raw arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np

from watchdog.host.side_process import HEAD_BYTES
from watchdog.tsdb.page_copy import PageCopy

MAX_ANSWER_BYTES = 32 << 20
"""Of one answer."""
_KEYS_AT_ONCE = 500
"""Series whose labels are written in one go: others get the interpreter in between."""


class Reply(Enum):
    """What the process says: the first byte of each of its frames."""

    WANTS = b"?"
    """JSON: metrics, after, until. These samples are to be sent, and before them the number of pages."""
    ANSWER = b"="
    """What the reader is told."""
    REFUSED = b"!"
    """What is wrong with the question, and the cure."""
    BROKEN = b"#"
    """A mistake of ours, for the log."""


def head_of(frame: bytes | memoryview) -> bytes:
    return memoryview(frame).nbytes.to_bytes(HEAD_BYTES, "big")


def page_frames(page: PageCopy) -> Iterator[bytes | memoryview]:
    """A page as frames; `read_page` is its other end."""
    yield encode([page.v.shape, page.trimmed_until])
    for start in range(0, len(page.keys), _KEYS_AT_ONCE):
        yield encode(page.keys[start : start + _KEYS_AT_ONCE])
    for array in (page.t, page.watched_since, page.downtimes, page.v):
        yield np.ascontiguousarray(array).data.cast("B") if array.size else b""


def read_page(receive: Callable[[], bytes]) -> PageCopy:
    """`receive`: the next frame."""
    (rows, columns), trimmed_until = json.loads(receive())
    keys = [
        tuple((label, value) for label, value in key)
        for _ in range(0, rows, _KEYS_AT_ONCE)
        for key in json.loads(receive())
    ]
    t, watched_since, downtimes = (np.frombuffer(receive(), np.int64) for _ in range(3))
    v = np.frombuffer(receive(), np.float64).reshape(rows, columns)
    return PageCopy(t, v, keys, watched_since, trimmed_until, downtimes.reshape(-1, 2))


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
