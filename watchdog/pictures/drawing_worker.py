"""The process that draws the daemon's pictures: matplotlib is in here, and never in the daemon.

On its socket (stdin): what is to be drawn, as JSON; its answer: ``=`` and the PNG, or ``#`` and why there is none. One after
another. It has less priority than anything else and a limit of memory, and the daemon ends it when a picture takes too long.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import traceback

from watchdog.core.errors import WatchdogError
from watchdog.host.side_process import SocketFrames, restrict
from watchdog.pictures import plots
from watchdog.pictures.kpi_chart import ChartData, draw_chart

_MEMORY = 768 << 20
"""Bytes of addresses that it may take beyond what it is made of: its libraries are among them."""
_IDLE = 60.0
"""Seconds after which it ends when there is nothing to draw: the next picture starts another."""
_LONGEST = 60
"""Seconds of one picture after which it ends by itself, should the daemon be gone."""
DRAWN, FAILED = b"=", b"#"


def main() -> None:
    restrict(_MEMORY)
    with contextlib.suppress(WatchdogError):  # while we are told what to draw
        plots.import_all()
    with socket.socket(fileno=os.dup(0)) as door:
        frames = SocketFrames(door)
        while select.select([door], [], [], _IDLE)[0]:
            signal.alarm(_LONGEST)
            try:
                asked = frames.receive()
                frames.send(*_answer(asked))
            except (EOFError, OSError):
                return
            finally:
                signal.alarm(0)
            gc.collect()


def _answer(asked: bytes) -> tuple[bytes, bytes]:
    try:
        return DRAWN, draw_chart(ChartData.from_json(json.loads(asked)))
    except WatchdogError as error:
        return FAILED, str(error).encode(errors="replace")
    except MemoryError:
        return FAILED, f"it needs more than {_MEMORY >> 20} MiB of memory".encode()
    except Exception:
        return FAILED, traceback.format_exc(limit=-5).encode(errors="replace")


if __name__ == "__main__":
    main()
