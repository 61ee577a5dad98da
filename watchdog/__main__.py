"""Entry point. Looks first whether this package is ours: PyPI's file-events `watchdog` has the same name."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from pathlib import Path


def main() -> int:
    import watchdog

    if getattr(watchdog, "DISTRIBUTION", None) != "trading-watchdog":
        folder = Path(__file__).parent
        print(
            f"trading-watchdog: the package in {folder} was overwritten by PyPI's other 'watchdog' (file events).\n"
            "Both use the import name 'watchdog', so each needs a virtual environment of its own:\n"
            "  python3 -m venv /opt/trading-watchdog && /opt/trading-watchdog/bin/pip install .    # in a clone of ours",
            file=sys.stderr,
        )
        return 1
    gc.disable()  # what is imported stays: to look it through for garbage costs a tenth of a start, and stalls later on
    from watchdog.cli.command_line import main as run

    gc.freeze()
    gc.enable()
    code = run()
    if threading.active_count() > 1:
        # A read that hangs (a dead disk, a git that waits) would keep us, and the next watchdog, waiting. What had to be
        # finished is finished and written down by now.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
