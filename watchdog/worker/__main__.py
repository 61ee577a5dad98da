"""``python -I -m watchdog.worker``: see `watchdog.worker.server`; with `broker` or `allowed` as first word, those.

Begun by its path, it is the same package as whoever began it, wherever that lies.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    role = sys.argv.pop(1) if sys.argv[1:] and sys.argv[1] in ("broker", "allowed") else "server"
    if role == "broker":
        from watchdog.worker.broker import main
    elif role == "allowed":
        from watchdog.worker.allowed import main
    else:
        from watchdog.worker.server import main
    sys.exit(main())
