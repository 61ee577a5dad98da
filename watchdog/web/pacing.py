"""Pages that cost the daemon time are made one at a time, and for all who wait: many readers cost no more than one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_REST = 4.0
"""So many times as long as a page took, none is made: readers take a fifth of the daemon's time at most …"""
_LONGEST_REST = 1.0
"""… and wait no longer than these seconds for it."""

Page = TypeVar("Page")


class Pacer:
    """Makes pages for the threads that ask."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._made: dict[str, tuple[float, object]] = {}
        self._rest_until = 0.0

    def make(self, name: str, build: Callable[[], Page]) -> Page:
        """What `build` says, begun after this call was: by us, or by another who asked for the same."""
        asked = time.monotonic()
        with self._turn:
            begun, page = self._made.get(name, (0.0, None))
            if begun >= asked:
                return page  # type: ignore[return-value]  # a name stands for one kind of page
            if (rest := self._rest_until - time.monotonic()) > 0:
                time.sleep(rest)
            begun = time.monotonic()
            try:
                made = build()
            finally:
                now = time.monotonic()
                self._rest_until = now + min(_REST * (now - begun), _LONGEST_REST)
            self._made[name] = begun, made
            return made
