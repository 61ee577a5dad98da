"""One connection, in a process of its own: questions in, answers out, until it is closed."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import queue
import socket
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from watchdog.core.errors import ActionError
from watchdog.host import child_process
from watchdog.worker import functions, wire


def run_session(connection: socket.socket) -> NoReturn:
    """Answers until the connection is closed; then this process ends at once, in the middle of whatever it does.

    So nothing is done any more for a caller that is dead or has given up. Programs that a step has started go on over a
    caller's death, which has noted them, and are ended when it gives up.
    """
    session = _Session(connection)
    threading.Thread(target=session.listen, name="listening", daemon=True).start()
    logging.getLogger().handlers = [_ForwardHandler(session)]
    child_process.on_child_started.set(session.report_child)
    while True:
        session.answer(*session.questions.get())


class _Session:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._going_on = threading.Semaphore(0)
        self.questions: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen(self) -> None:
        input_file: _InputFile | None = None
        try:
            while (frame := wire.receive(self._connection)) is not None:
                if frame.kind == b"Q":
                    self.questions.put((frame.data, input_file))
                    input_file = None
                elif frame.kind == b"D":
                    input_file = input_file or _InputFile()
                    input_file.add(base64.b64decode(frame.data))
                elif frame.kind == b"K":
                    self._going_on.release()
                elif frame.kind == b"X":
                    child_process.kill_running()
                    break
        except wire.WireError:
            pass
        finally:
            os._exit(0)

    def answer(self, question: Any, input_file: _InputFile | None) -> None:
        try:
            with input_file or contextlib.nullcontext():
                answer = {"result": functions.answer(question, None if input_file is None else input_file.path)}
        except ActionError as error:
            answer = {"error": str(error), "may_have_happened": error.may_have_happened}
        except Exception as error:  # a mistake of ours: whoever asked must know that nobody knows
            answer = {
                "error": f"{type(error).__name__}: {error}",
                "may_have_happened": True,
                "traceback": traceback.format_exc()[-4_000:],
            }
        try:
            wire.send(self._connection, b"A", answer)
        except wire.WireError as problem:
            wire.send(self._connection, b"A", {"error": str(problem), "may_have_happened": True})

    def report_child(self, pid: int, started: float) -> None:
        """Comes back when the caller has written it down."""
        wire.send(self._connection, b"C", [pid, started])
        self._going_on.acquire()

    def log(self, level: int, text: str) -> None:
        wire.send(self._connection, b"L", [level, text[:4_000]])


class _InputFile:
    """Bytes that came with a question, in memory; for one `with` block."""

    def __init__(self) -> None:
        self._handle = os.memfd_create("input")
        self.path = Path(f"/proc/self/fd/{self._handle}")

    def add(self, chunk: bytes) -> None:
        while chunk:
            chunk = chunk[os.write(self._handle, chunk) :]

    def __enter__(self) -> _InputFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


class _ForwardHandler(logging.Handler):
    """Our log is the caller's: this account has none, and must not write into it past the caller's eyes."""

    def __init__(self, session: _Session) -> None:
        super().__init__(logging.INFO)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        self._session.log(record.levelno, record.getMessage())
