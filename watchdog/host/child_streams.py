"""What a child process says and is told, while somebody watches the clock."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from typing import IO

POLL_INTERVAL = 0.05
"""Seconds."""
_CHUNK = 65_536


class TailBuffer:
    """The last bytes of a stream, whatever its length."""

    def __init__(self, limit: int) -> None:
        self.data, self.limit, self.truncated = bytearray(), limit, False

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self.limit:
            self.truncated = True
            del self.data[: -self.limit or None]


class HeadBuffer(TailBuffer):
    """The first bytes of a stream; the rest is not waited for."""

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self.limit:
            self.truncated = True
            del self.data[self.limit :]


def communicate(
    child: subprocess.Popen[bytes],
    data: bytes | None,
    deadline: float,
    out: TailBuffer,
    err: TailBuffer,
    *,
    stop_when_full: bool,
) -> bool:
    """Feed stdin and read both pipes until the child has ended, or enough is known; False when the deadline came first. It is
    not reaped.

    `stop_when_full`: also until it has said more than `out` holds.
    """
    assert child.stdout is not None
    assert child.stderr is not None
    only_head = isinstance(out, HeadBuffer)
    left_to_say = memoryview(data or b"")
    with selectors.DefaultSelector() as selector:
        for pipe, tail in ((child.stdout, out), (child.stderr, err)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, tail)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        # A grandchild may keep the pipes open for ever: once the child is gone only what is there already is read.
        after_its_end = 32
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0 and only_head and out.data:
                out.truncated = True
                return True
            if remaining <= 0:
                return False
            ended = has_exited(child.pid)  # asked first: what it wrote before its end is in the pipes by then
            events = selector.select(0 if ended else min(remaining, POLL_INTERVAL))
            for key, _ in events:
                if key.fileobj is child.stdin:
                    left_to_say = _write_stdin(selector, child.stdin, left_to_say)
                else:
                    _read_pipe(selector, key)
            if stop_when_full and out.truncated:
                return True
            if ended:
                after_its_end -= 1
                if not events or not after_its_end:
                    break
    pause = 0.0005
    while not has_exited(child.pid):  # it has closed its pipes, and as a rule is on its way out
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, POLL_INTERVAL)
    return True


def _read_pipe(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    chunk = os.read(key.fd, _CHUNK)
    if chunk:
        key.data.add(chunk)
    else:
        selector.unregister(key.fileobj)


def _write_stdin(selector: selectors.BaseSelector, stdin: IO[bytes] | None, data: memoryview) -> memoryview:
    assert stdin is not None
    try:
        data = data[os.write(stdin.fileno(), data[:_CHUNK]) :]
    except BrokenPipeError:
        data = data[:0]
    if not data:
        selector.unregister(stdin)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
    return data


def has_exited(pid: int) -> bool:
    """Whether a child has; it stays what it is, a zombie."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:  # somebody else has reaped it
        return True
