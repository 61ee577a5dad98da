"""`run` and `demo`: the two commands that go on by themselves."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys


def run(options: argparse.Namespace) -> int:
    from watchdog.daemon import Daemon  # what only `run` needs is imported by `run` only

    log_to_stderr(logging.DEBUG if options.verbose else logging.INFO)

    async def watch() -> None:
        await Daemon(options.config, os.environ).run()

    asyncio.run(watch())
    return 0


def log_to_stderr(level: int) -> None:
    """To stderr; without the time under systemd, whose journal has its own."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(level=level, format=f"{stamp}%(levelname)s %(message)s", stream=sys.stderr)
    for noisy in ("apscheduler", "urllib3", "httpx", "httpcore", "telegram", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def show(options: argparse.Namespace) -> int:
    from watchdog.demo import demo

    return demo(as_json=options.json, keep=options.keep)
