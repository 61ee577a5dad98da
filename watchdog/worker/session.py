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
from typing import NamedTuple, NoReturn

from watchdog.core.errors import ActionError
from watchdog.host import child_process
from watchdog.worker import functions, wire
from watchdog.worker.confine import MAX_MEMORY, Bounds, confine


def run_session(connection: socket.socket, scratch: Path) -> NoReturn:
    """Answers until the connection is closed; then this process ends at once, in the middle of whatever it does.

    So nothing is done any more for a caller that is dead or has given up. Programs that a step has started go on over a
    caller's death, which has noted them, and are ended when it gives up; those of a source end with it.

    The first question decides whether the process is confined, and to what: `scratch`, which is not there yet, is its
    temporary folder then.
    """
    session = _Session(connection, scratch)
    logging.getLogger().handlers = [_ForwardHandler(session)]
    child_process.on_child_started.set(session.report_child)
    first = session.receive()
    session.begin(first)
    threading.Thread(target=session.listen, name="listening", daemon=True).start()
    session.answer(first)
    while True:
        session.answer(session.questions.get())


class _Asked(NamedTuple):
    """A question as it came."""

    question: functions.Question | Exception
    input_file: _InputFile | None


class _Session:
    def __init__(self, connection: socket.socket, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._bounds: Bounds | ActionError | None = None
        """What this process is held to; an error: it was not to be; None: nothing."""
        self._going_on = threading.Semaphore(0)
        self.questions: queue.SimpleQueue[_Asked] = queue.SimpleQueue()

    def receive(self) -> _Asked:
        """The next question. The process ends when there will be none."""
        input_file: _InputFile | None = None
        try:
            while (frame := wire.receive(self._connection)) is not None:
                if frame.kind == b"Q":
                    try:
                        return _Asked(functions.read_question(frame.data), input_file)
                    except Exception as mistake:
                        return _Asked(mistake, input_file)
                if frame.kind == b"D":
                    input_file = input_file or _InputFile()
                    input_file.add(base64.b64decode(frame.data))
                elif frame.kind == b"K":
                    self._going_on.release()
                elif frame.kind == b"X":
                    child_process.kill_running()
                    break
                else:
                    break
        except Exception:  # what no caller of ours says
            child_process.kill_running(all_of_them=False)
            os._exit(1)
        child_process.kill_running(all_of_them=False)
        os._exit(0)

    def listen(self) -> None:
        while True:
            self.questions.put(self.receive())

    def begin(self, first: _Asked) -> None:
        """While there is one thread."""
        question = first.question
        if isinstance(question, functions.Question) and question.needed_files is not None:
            try:
                self._bounds = confine(question.needed_files, question.repo, self._scratch)
            except ActionError as error:
                self._bounds = error

    def answer(self, asked: _Asked) -> None:
        kind: wire.FrameKind = b"A"
        try:
            with asked.input_file or contextlib.nullcontext():
                question = asked.question
                if isinstance(question, Exception):
                    raise question
                if self._can_answer(question):
                    path = None if asked.input_file is None else asked.input_file.path
                    answer = {"result": functions.answer(question, path)}
                else:
                    kind, answer = b"N", {}
        except ActionError as error:
            answer = {"error": str(error), "may_have_happened": error.may_have_happened, "spent": error is self._bounds}
        except MemoryError:
            said = f"it took more than {MAX_MEMORY >> 20} MB of memory"
            answer = {"error": said, "may_have_happened": True, "spent": True}
        except Exception as error:  # a mistake of ours: whoever asked must know that nobody knows
            answer = {
                "error": f"{type(error).__name__}: {error}",
                "may_have_happened": True,
                "traceback": traceback.format_exc()[-4_000:],
            }
        try:
            wire.send(self._connection, kind, answer)
        except wire.WireError as problem:
            wire.send(self._connection, b"A", {"error": str(problem), "may_have_happened": True})

    def _can_answer(self, question: functions.Question) -> bool:
        """Whether this process is held to what it needs, and to no more. Raises ActionError."""
        if isinstance(self._bounds, ActionError):
            raise self._bounds
        needed = question.needed_files
        if needed is None or self._bounds is None:
            return needed is None and self._bounds is None
        return self._bounds.cover(needed, question.repo)

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
