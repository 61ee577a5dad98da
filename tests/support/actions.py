"""Real git repositories, and what the actions' tests share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from watchdog.actions import AnyAction
from watchdog.core import model, protocols

_ACTION: TypeAdapter[Any] = TypeAdapter(AnyAction)


def make_action(**fields: Any) -> protocols.Action:
    made: protocols.Action = _ACTION.validate_python(fields)
    return made


def json_round_trip(before: model.JsonObject) -> model.JsonObject:
    """What an action noted, as another process reads it."""
    read: model.JsonObject = json.loads(json.dumps(before))
    return read


def wait_until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Patient: the machine may be busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


class GitRepo:
    """A repository made with the user's own git, not with ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        if not (path / ".git").exists():
            self.git("init", "-q", "-b", "main")

    def git(self, *args: str, ok: bool = True) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        ran = subprocess.run(["git", *who, *args], cwd=self.path, capture_output=True, text=True)
        assert ran.returncode == 0 or not ok, ran.stderr
        return ran.stdout

    def write_files(self, **files: str | None) -> None:
        """`config__py="X = 1"` writes config.py; None removes. `__` is a dot, `___` a slash."""
        for name, text in files.items():
            path = self.path / name.replace("___", "/").replace("__", ".")
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def commit(self, message: str, **files: str | None) -> str:
        self.write_files(**files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def status(self) -> str:
        return self.git("status", "--porcelain")

    def read(self, name: str) -> str:
        return (self.path / name).read_text()


CONFIG_V1 = "GLOBAL_TRADING = True  # the big switch\nSIZE = 1\n"
CONFIG_V2 = "GLOBAL_TRADING = True  # the big switch\nSIZE = 2\nFEATURE_X = True\n"


# What `killed_at` and `failing_at` count: every change of a name in the file system.
_RENAME_CALLS = ("replace", "rename", "link", "unlink", "rmdir")


def killed_at(nth: int, callback: Callable[[], object]) -> bool:
    """Run `callback` in a process that dies by SIGKILL ahead of its nth step. False: it got through before that."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _instrument_calls(nth, lambda: os.kill(os.getpid(), signal.SIGKILL), programs=False)
            callback()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@contextlib.contextmanager
def failing_at(nth: int) -> Iterator[list[bool]]:
    """The nth step, or program that is run, raises OSError, once. Yields a list that is not empty when it came to that."""
    failures: list[bool] = []

    def fail() -> None:
        failures.append(True)
        raise OSError(5, "Input/output error")

    undo = _instrument_calls(nth, fail, programs=True)
    try:
        yield failures
    finally:
        undo()


def _instrument_calls(nth: int, at_nth: Callable[[], None], *, programs: bool) -> Callable[[], None]:
    left = [nth]

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            # shutil.rmtree, tidying up: that it began is one step enough
            left[0] -= sys._getframe(1).f_globals["__name__"] != "shutil"
            if left[0] == -1:
                left[0] -= 1
                at_nth()
            return real(*args, **kwargs)

        return step

    counted: list[tuple[Any, str]] = [(os, name) for name in _RENAME_CALLS]
    if programs:
        counted.append((subprocess, "Popen"))
    kept = [(module, name, getattr(module, name)) for module, name in counted]
    for module, name, real in kept:
        setattr(module, name, counting(real))

    def undo() -> None:
        for module, name, real in kept:
            setattr(module, name, real)

    return undo
