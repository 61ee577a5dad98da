"""The process that answers the daemon's queries: whatever somebody asks is read, parsed and evaluated in here.

It has less priority than anything else, a limit of memory, and is the first that the kernel ends when there is none. The
daemon ends it when an answer takes too long or nobody wants it any more, and starts another.

On its socket (stdin): a question as JSON; it says which samples it wants; those; its answer. One after another. Kinds of
what it says are in `query_frames.Reply`.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import traceback
from pathlib import Path

from watchdog.core.errors import WatchdogError
from watchdog.host.side_process import SocketFrames, restrict
from watchdog.offline.history.query import QueryTimes, encode_answer, find_read_range, with_stored_history
from watchdog.promql import EvaluationLimits, evaluate, parse
from watchdog.tsdb.page import PageList
from watchdog.web import query_frames
from watchdog.web.query_frames import MAX_ANSWER_BYTES, Reply

_MEMORY = 1 << 30
"""Bytes that it may take beyond what it is made of."""
_IDLE = 60.0
"""Seconds after which it ends when nobody asks: the next question starts another."""
_LONGEST = 60
"""Seconds of one answer after which it ends by itself, should the daemon be gone."""


def main() -> None:
    restrict(_MEMORY)
    with socket.socket(fileno=os.dup(0)) as door:
        while select.select([door], [], [], _IDLE)[0]:
            signal.alarm(_LONGEST)
            try:
                if not _answer(SocketFrames(door)):
                    return
            except (EOFError, OSError):
                return
            finally:
                signal.alarm(0)
            gc.collect()


def _answer(line: SocketFrames) -> bool:
    """Whether it can go on."""
    asked = json.loads(line.receive())
    try:
        params = asked["params"]
        text = params.get("expr", "")
        expr = parse(text)
        times = QueryTimes(params.get("at"), params.get("from"), params.get("to"), params.get("step")).times(
            asked["now"]
        )
        reads = find_read_range(expr, times)
        line.send(Reply.WANTS.value, query_frames.encode([sorted(reads.metrics), reads.after, reads.until]))
        pages = [query_frames.read_page(line.receive).page() for _ in range(int(line.receive()))]
        series = with_stored_history(Path(asked["series_db"]), PageList(pages), reads)
        result = evaluate(expr, series, times, limits=EvaluationLimits())
        line.send(Reply.ANSWER.value, encode_answer(text, times, result, MAX_ANSWER_BYTES))
    except WatchdogError as error:
        line.send(Reply.REFUSED.value, str(error).encode(errors="replace"))
    except MemoryError:
        cure = "ask for fewer series, a shorter time, or a longer step"
        line.send(Reply.REFUSED.value, f"it needs more than {_MEMORY >> 20:,} MiB of memory — {cure}".encode())
        return False
    except (EOFError, OSError):
        raise
    except Exception:
        line.send(Reply.BROKEN.value, traceback.format_exc(limit=-5).encode(errors="replace"))
        return False
    return True


if __name__ == "__main__":
    main()
