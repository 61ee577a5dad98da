"""A process of a worker's holds itself to the files that it is asked about, and to so much memory, for good."""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.confinement import needed_confinement
from watchdog.core.errors import ActionError
from watchdog.core.protocols import NeededFiles
from watchdog.host import landlock
from watchdog.host.account import own_account

MAX_MEMORY = 1 << 30
"""Bytes that such a process, and each program that it starts, may write to. Not of addresses (RLIMIT_AS): git maps packs that
are larger, and what Git LFS is written in reserves more than it will ever use."""


class Bounds(NamedTuple):
    """What a process is held to."""

    scratch: Path
    home: Path
    readable: frozenset[tuple[int, int]]
    writable: frozenset[tuple[int, int]]
    """Device and inode of the folders: one that was put in their place since is another."""
    in_force: bool
    """False: this kernel knows no Landlock."""

    def cover(self, needed: NeededFiles, target_repo: str | None) -> bool:
        """Whether they are what that needs, too: no less, and nothing more that is written."""
        if not self.in_force:
            return True
        readable, writable = needed_confinement(needed, target_repo, self.scratch, self.home)
        return _identities(writable) == self.writable and _identities(readable) <= self.readable | self.writable


def confine(needed: NeededFiles, target_repo: str | None, scratch: Path) -> Bounds:
    """From now on this process, and all that it starts, has that and no more. While it has one thread.

    `scratch`: where its temporary folder is made. Raises ActionError; then nobody knows what it is held to.
    """
    home = Path(own_account().home)
    try:
        scratch.mkdir(mode=0o700)
        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = str(scratch)
        confinement = needed_confinement(needed, target_repo, scratch, home)
        in_force = landlock.restrict(*confinement)
        bounds = Bounds(scratch, home, _identities(confinement.readable), _identities(confinement.writable), in_force)
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    except (OSError, ValueError) as problem:
        raise ActionError(f"the process that was to do it cannot be confined: {problem}") from None
    return bounds


def _identities(paths: Iterable[Path]) -> frozenset[tuple[int, int]]:
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            there = path.stat()
            found.add((there.st_dev, there.st_ino))
    return frozenset(found)
