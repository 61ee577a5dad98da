"""A process of ours that computes beside the daemon: behind everything else, and bounded."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path


def step_back(memory: int) -> None:
    """This process gets less of the processor than anything else, is the first that the kernel ends when there is no memory, and
    takes no more of it than `memory` bytes beyond what it is made of."""
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
