"""Has pictures drawn in a process of their own: begun when the first is wanted, ended by itself when there is nothing to draw, and
by us when one takes too long. Whatever becomes of it costs a picture and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from functools import partial

from watchdog.core.telemetry import log
from watchdog.host.side_process import HEAD_BYTES, SideProcess
from watchdog.pictures import plots
from watchdog.pictures.drawing_worker import DRAWN
from watchdog.pictures.kpi_chart import ChartData

_DEADLINE = 10.0
"""Seconds for one picture, the start of the process included, from the moment that it is its turn."""
_MAX_WAITING = 4
"""Pictures that are drawn or wait for their turn; of more there is none."""
_MAX_PICTURE = 4 << 20
"""Bytes."""
_MODULE = "watchdog.pictures.drawing_worker"


class ChartDrawer:
    """Used in one loop."""

    def __init__(self, deadline: float = _DEADLINE, module: str = _MODULE) -> None:
        """`deadline`: seconds for one picture. `module`: what draws."""
        self._deadline, self._module = deadline, module
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._running: SideProcess | None = None
        self._closed = False
        self._missing_told = False

    async def draw(self, data: ChartData) -> bytes | None:
        """A PNG; None where there is none, the reason being in the log. Never raises."""
        if self._closed or self._waiting >= _MAX_WAITING or self._is_missing():
            return None
        self._waiting += 1
        try:
            async with self._turn, asyncio.timeout(self._deadline):
                return await self._ask(json.dumps(data.to_json()).encode())
        except TimeoutError:
            why = f"not drawn within {self._deadline:g} s"
        except (EOFError, ConnectionError):
            why = "the process that draws has ended"
        except (OSError, ValueError) as error:
            why = f"the process that draws: {error}"
        finally:
            self._waiting -= 1
        log.warning("no picture of %s: %s", data.title, why)
        return None

    def is_ready(self) -> bool:
        """Whether there can be a picture; then the process begins, while it is gathered what is to be drawn."""
        if self._closed or self._is_missing():
            return False
        with contextlib.suppress(OSError):  # `draw` says why
            self._process()
        return True

    def _is_missing(self) -> bool:
        missing = plots.describe_missing()
        if missing is not None and not self._missing_told:
            log.info("messages go out without pictures: %s", missing)
            self._missing_told = True
        return missing is not None

    async def _ask(self, question: bytes) -> bytes:
        """Raises EOFError, OSError, TimeoutError, or ValueError with what it says is wrong. Whatever was asked and not answered to
        its end ends the process: nobody takes its answer for that of the next."""
        for attempt in ("the one at rest", "a new one"):
            try:
                answer = await self._converse(self._process(), question)
                break
            except BaseException as error:
                self._end()
                # One at rest may be just about to end, having been idle for too long.
                if attempt == "a new one" or not isinstance(error, EOFError | OSError):
                    raise
        if answer[:1] != DRAWN:
            raise ValueError(answer[1:].decode(errors="replace"))
        return answer[1:]

    def _process(self) -> SideProcess:
        if self._running is None or self._running.child.poll() is not None:
            self._end()
            self._running = self._start()
        return self._running

    def _start(self) -> SideProcess:
        """matplotlib wants a folder for what it finds out about fonts; none is left behind."""
        folder = tempfile.mkdtemp(prefix="trading-watchdog-plots-")
        remove = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            return SideProcess.start(self._module, {"MPLCONFIGDIR": folder}, on_end=remove)
        except BaseException:
            remove()
            raise

    async def _converse(self, process: SideProcess, question: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(process.door, len(question).to_bytes(HEAD_BYTES, "big") + question)
        size = int.from_bytes(await self._read(process, HEAD_BYTES), "big")
        if not 1 <= size <= _MAX_PICTURE:
            raise ValueError(f"it says {size} bytes")
        return await self._read(process, size)

    async def _read(self, process: SideProcess, size: int) -> bytes:
        loop, data = asyncio.get_running_loop(), bytearray()
        while len(data) < size:
            some = await loop.sock_recv(process.door, min(size - len(data), 1 << 20))
            if not some:
                raise EOFError
            data += some
        return bytes(data)

    def _end(self) -> None:
        if (running := self._running) is not None:
            self._running = None
            running.end()

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._end()
