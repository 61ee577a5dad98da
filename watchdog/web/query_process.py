"""Queries of people are answered by a process of their own: nothing that a stranger asks is read or evaluated in the daemon.

One at a time; a few wait, others are told to come again. When the reader goes, or the time is up, the process is ended.
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.host.side_process import HEAD_BYTES, SideProcess
from watchdog.tsdb.page_copy import PageCopy
from watchdog.web import query_frames
from watchdog.web.query_frames import MAX_ANSWER_BYTES, Reply

DEADLINE = 10.0
"""Seconds for one answer, from the moment that it is its turn."""
MAX_WAITING = 3
"""Readers that wait for their turn; for no longer than one answer may take."""
MAX_CELLS = 8_000_000
"""Samples that are copied out of memory for one answer: 64 MB for a moment."""
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL

CopySeries = Callable[[Sequence[str], Millis, Millis, int], list[PageCopy]]
"""(metrics, after, until, most values) → a copy of what is in memory. Raises WatchdogError when there is more."""


class QueryUnavailableError(WatchdogError):
    """It cannot be answered now: it took too long, or others are asking."""


class ReaderGoneError(Exception):
    """Nobody waits for the answer any more."""


class QueryProcess:
    """Starts the process when somebody asks, and again when it was ended. Used by many threads."""

    def __init__(self, clock: Callable[[], Millis], series_db: Path, copy_series: CopySeries) -> None:
        self._clock, self._series_db, self._copy_series = clock, series_db, copy_series
        self._turn = threading.Lock()
        self._running: SideProcess | None = None
        self._closed = False

    def answer(self, params: Mapping[str, str], reader: int) -> bytes:
        """JSON. `params`: what stands in the address. `reader`: the file descriptor of the socket that waits for it.

        Raises WatchdogError where the question is wrong or too large, QueryUnavailableError, ReaderGoneError.
        """
        until = time.monotonic() + DEADLINE
        while not self._turn.acquire(timeout=0.05):
            if is_gone(reader):
                raise ReaderGoneError
            if time.monotonic() > until:
                raise QueryUnavailableError("other queries are being answered — ask again in a moment")
        try:
            return self._ask(params, reader)
        finally:
            self._turn.release()

    def _ask(self, params: Mapping[str, str], reader: int) -> bytes:
        question = query_frames.encode(
            {"params": dict(params), "now": self._clock(), "series_db": str(self._series_db.absolute())}
        )
        until = time.monotonic() + DEADLINE
        for attempt in ("the one at rest", "a new one"):
            process = self._process()
            conversation = _Conversation(process, reader, until)
            try:
                kind, said = conversation.ask(question)
                if kind is Reply.WANTS:
                    metrics, after, before = json.loads(said)
                    kind, said = conversation.give(self._copy_series(metrics, after, before, MAX_CELLS))
                break
            except _ProcessEndedError:  # it had been idle for too long
                process.end()
                if attempt == "a new one":
                    raise QueryUnavailableError("the process that answers queries ended — ask again") from None
            except BaseException:
                process.end()
                raise
        if kind is Reply.ANSWER:
            return said
        if kind is Reply.REFUSED:
            raise WatchdogError(said.decode())
        raise RuntimeError(f"the process that answers queries broke:\n{said.decode(errors='replace')}")

    def _process(self) -> SideProcess:
        if self._running is None or self._running.child.poll() is not None:
            if self._closed:
                raise QueryUnavailableError("the watchdog is ending")
            if self._running is not None:
                self._running.end()
            try:
                self._running = SideProcess.start("watchdog.web.query_worker")
            except OSError as error:
                raise QueryUnavailableError(
                    f"no process for queries can be started: {error.strerror} — is the machine out of memory?"
                ) from None
        return self._running

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._closed = True
        if (running := self._running) is not None:
            running.end()


class _ProcessEndedError(Exception):
    """It is no longer there."""


class _Conversation(NamedTuple):
    """One question. Each method raises QueryUnavailableError, ReaderGoneError or _ProcessEndedError."""

    process: SideProcess
    reader: int
    until: float
    """Monotonic seconds."""

    def ask(self, question: bytes) -> tuple[Reply, bytes]:
        self._send(question)
        return self._receive()

    def give(self, pages: Sequence[PageCopy]) -> tuple[Reply, bytes]:
        try:
            self._send(str(len(pages)).encode())
            for page in pages:
                for frame in query_frames.page_frames(page):
                    self._send(frame)
            return self._receive()
        except _ProcessEndedError:
            self.process.child.wait()
            log.warning("the process that answers queries was ended (%s)", self.process.child.returncode)
            raise QueryUnavailableError(
                "the query was ended: there is not enough memory for it — ask for fewer series or a shorter time"
            ) from None

    def _send(self, frame: bytes | memoryview) -> None:
        for part in (memoryview(query_frames.head_of(frame)), memoryview(frame)):
            while part.nbytes:
                self._wait(select.POLLOUT)
                try:
                    part = part[self.process.door.send(part[: 1 << 20]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    raise _ProcessEndedError from None

    def _receive(self) -> tuple[Reply, bytes]:
        size = int.from_bytes(self._read(HEAD_BYTES), "big")
        if not 1 <= size <= MAX_ANSWER_BYTES + 1:
            raise RuntimeError(f"the process that answers queries says {size} bytes")
        return Reply(self._read(1)), self._read(size - 1)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(select.POLLIN)
            try:
                some = self.process.door.recv(min(size - len(data), 1 << 20))
            except BlockingIOError:
                continue
            except OSError:
                raise _ProcessEndedError from None
            if not some:
                raise _ProcessEndedError
            data += some
        return bytes(data)

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.process.door, event)
        poll.register(self.reader, select.POLLRDHUP)
        left = self.until - time.monotonic()
        ready = dict(poll.poll(left * 1_000)) if left > 0 else {}
        if ready.get(self.reader, 0) & _GONE:
            raise ReaderGoneError
        if not ready:
            raise QueryUnavailableError(
                f"the query was ended: it took more than {DEADLINE:g} s"
                " — ask for fewer series, a shorter time, or a longer step"
            )


def is_gone(reader: int) -> bool:
    """Whether the other end of this socket was closed."""
    poll = select.poll()
    poll.register(reader, select.POLLRDHUP)
    return bool(poll.poll(0))
