"""Processes of others, which may end while they are looked at."""

from __future__ import annotations

import psutil


def is_alive(process: psutil.Process | int) -> bool:
    """It runs, and is no zombie."""
    try:
        one = psutil.Process(process) if isinstance(process, int) else process
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
