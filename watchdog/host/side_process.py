"""A process of our own beside the daemon, for what could take too long, too much memory, or end badly: begun by the daemon and
spoken to over a socket, which is its stdin. It inherits no secret, stands back behind everything, and can be ended at any time."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 8
"""The length of what follows, big-endian: how each frame on the socket begins."""

_INHERITED = ("LANG", "LC_ALL", "LC_TIME", "TZ")


class SideProcess(NamedTuple):
    child: subprocess.Popen[bytes]
    door: socket.socket
    """Our end; does not block."""

    @classmethod
    def start(
        cls, module: str, environment: Mapping[str, str] | None = None, on_end: Callable[[], object] = lambda: None
    ) -> SideProcess:
        """Runs `module`; `environment` beside what it inherits. `on_end` is called in a thread once it is gone, however that came
        about. Raises OSError where it cannot be started."""
        ours, theirs = socket.socketpair()
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with theirs:
            try:
                child = subprocess.Popen(
                    [sys.executable, "-I", "-m", module],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={**inherited, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **(environment or {})},
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)

        def wait() -> None:
            child.wait()
            on_end()

        # It ends by itself when it has been idle; somebody has to be told, or it stays in the table of processes.
        threading.Thread(target=wait, name=module, daemon=True).start()
        return cls(child, ours)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        self.child.wait()
        self.door.close()


def restrict(memory: int) -> None:
    """Of the process itself, first of all: less priority than anything else, `memory` bytes beyond what it is made of by now, the
    first that the kernel ends when there is none, and no core."""
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class SocketFrames:
    """The daemon's end of the socket, for the process: frames, waited for as long as it takes."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door

    def receive(self) -> bytes:
        """The next frame. Raises EOFError when the daemon is gone."""
        return self._read(int.from_bytes(self._read(HEAD_BYTES), "big"))

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        view, have = memoryview(data), 0
        while have < size:
            got = self._door.recv_into(view[have:])
            if not got:
                raise EOFError
            have += got
        return bytes(data) if size < 1 << 16 else data  # type: ignore[return-value]  # arrays are made over it: not twice

    def send(self, kind: bytes, frame: bytes) -> None:
        """`kind`: the first byte of the frame, which says what it is."""
        self._door.sendall((len(frame) + 1).to_bytes(HEAD_BYTES, "big") + kind)
        self._door.sendall(frame)
