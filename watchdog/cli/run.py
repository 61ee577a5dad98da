"""`run`: the daemon in the foreground, and its log."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from watchdog.cli import root
from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.core.log_format import JournaldFormatter, LineFormatter, log_uncaught
from watchdog.core.telemetry import log
from watchdog.worker.program import make_private

if TYPE_CHECKING:
    from watchdog.app.daemon import Daemon
    from watchdog.config import Config, FileStats


def register(commands: Commands) -> None:
    command = add_command(commands, "run", run, "Watch, act and tell until stopped; SIGHUP reloads.", as_json=False)
    add_config_option(command)
    command.add_argument("--verbose", "-v", action="store_true", help="log more")


def run(options: argparse.Namespace) -> int:
    broker = root.begin_broker(options.config) if root.is_root() else None
    make_private()
    log_to_stderr(logging.DEBUG if options.verbose else logging.INFO)
    log_uncaught()
    # An action waits for the interpreter some ten times. While a thread computes (a reload, a query, the history) each of
    # these takes as long as this: ten times Python's own 5 ms would be more than an action may be kept waiting.
    sys.setswitchinterval(0.000_5)

    async def watch() -> None:
        await _build_daemon(options.config, broker).run()

    asyncio.run(watch())
    return 0


def _build_daemon(path: Path, broker: root.BrokerProcess | None) -> Daemon:
    """What is made here stays: modules, configuration and plans are never looked through for garbage, which would take
    longer than an action may be kept waiting."""
    gc.disable()
    try:
        from watchdog.app.daemon import Daemon  # what only `run` needs is imported by `run` only

        return (
            Daemon(path, os.environ) if broker is None else Daemon(path, os.environ, loaded=_load_as_root(path, broker))
        )
    finally:
        gc.freeze()
        gc.enable()


def _load_as_root(path: Path, broker: root.BrokerProcess) -> tuple[FileStats, Config]:
    """The configuration, for whoever we are afterwards: root reads its own files once, and the broker need not."""
    from watchdog import config
    from watchdog.host import privileges
    from watchdog.worker.allowed import allowed

    files, state = config.stat_files(path), config.state_folder(path, environ=os.environ)
    loaded = config.load(path, environ=os.environ, uid=privileges.service_account(state).uid)
    safe = not config.unsafe_files(path, uid=os.geteuid())
    kept = root.let_go_of_root(path, state, acts=True, begun=broker, allowed=allowed(loaded) if safe else None)
    if kept is not None:
        log.warning("%s", kept)
    return files, loaded


def log_to_stderr(level: int) -> None:
    """To stderr. To systemd's journal without the time, which it has itself, and with the priority that it asks for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JournaldFormatter("%(levelname)s %(message)s")
        if _is_journald(sys.stderr)
        else LineFormatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler])
    for noisy in ("urllib3", "httpx", "httpcore", "telegram", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _is_journald(stream: TextIO) -> bool:
    try:
        found = os.fstat(stream.fileno())
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
