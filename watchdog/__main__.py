"""Entry point. Looks first whether this package is ours: PyPI's file-events `watchdog` has the same name."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    import watchdog

    if getattr(watchdog, "DISTRIBUTION", None) != "trading-watchdog":
        folder = Path(__file__).parent
        print(
            f"trading-watchdog: the package in {folder} was overwritten by PyPI's other 'watchdog' (file events).\n"
            "Both use the import name 'watchdog', so each needs a virtual environment of its own:\n"
            "  python3 -m venv /opt/trading-watchdog && /opt/trading-watchdog/bin/pip install trading-watchdog",
            file=sys.stderr,
        )
        return 1
    from watchdog.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
