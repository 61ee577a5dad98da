"""``python -I -m watchdog.worker``: see `watchdog.worker.server`."""

from watchdog.worker.server import main

main()
