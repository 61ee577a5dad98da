"""Property tests try the same examples every time, so that a red build is about the change in it. Others are tried with
WATCHDOG_RANDOM=1."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True)
if not os.environ.get("WATCHDOG_RANDOM"):
    settings.load_profile("steady")
