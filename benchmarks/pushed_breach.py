"""From the last byte of a push to the first instruction of the action, through a daemon as people run it.

`python -m benchmarks.pushed_breach` prints the figures alone; `--rounds` says how many breaches.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from benchmarks.daemon import DaemonUnderTest
from benchmarks.measure import QUICK_EFFORT, Effort, MeasurementError, wait_until
from benchmarks.metrics_server import metrics_text
from benchmarks.table import TableRow, format_plain

_TOKEN = "a-token-of-the-benchmark"
_DAEMONS = 5
"""One after another: nobody says `resume` here, and a target that has been halted a hundred times since is none that there is."""


class PushingBot:
    """Pushes its 50 series over one connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30)

    def push(self, *, breach: bool) -> float:
        """Returns when the last byte had been sent, in monotonic seconds."""
        headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "text/plain"}
        self._connection.request("POST", "/push/bot", metrics_text(breach=breach), headers)
        sent = time.monotonic()
        answer = self._connection.getresponse()
        said = answer.read().decode()
        if answer.status != 204:
            raise MeasurementError(f"what is pushed is answered with {answer.status}: {said.strip()}")
        return sent

    def is_taken(self) -> bool:
        """Whether the source is open by now."""
        try:
            self.push(breach=False)
        except MeasurementError:
            return False
        return True

    def close(self) -> None:
        self._connection.close()


def measure_reactions(folder: Path, breaches: int) -> list[float]:
    """ms from the last byte to the first instruction of the action, of each breach."""
    token_file = folder / "token"
    token_file.write_text(_TOKEN)
    token_file.chmod(0o600)
    ours = DaemonUnderTest(folder / "pushed", source=f'{{type: push, token_file: "{token_file}", every: 1s}}')
    found = []
    with ours.started():
        wait_until(lambda: ours.url, 120, "the daemon answers")
        bot = PushingBot(ours.url)
        wait_until(bot.is_taken, 30, "the daemon takes what is pushed")
        ours.wait_until_ready()
        for _ in range(breaches):
            wait_until(lambda: bot.push(breach=False) and ours.is_resolved(), 60, "the incident is over")
            time.sleep(0.05)  # what its end left to be done is done
            sent = bot.push(breach=True)
            wait_until(lambda sent=sent: ours.acted_at(sent) is not None, 60, "the daemon acts")  # type: ignore[misc]
            found.append(((ours.acted_at(sent) or sent) - sent) * 1e3)
        bot.close()
    return found


def measure_rows(effort: Effort, log: Callable[[str], None]) -> list[TableRow]:
    found: list[float] = []
    for number in range(_DAEMONS):
        log(f"pushed: {effort.rounds} breaches, daemon {number + 1} of {_DAEMONS}")
        with TemporaryDirectory(prefix="benchmarks-") as folder:
            found += measure_reactions(Path(folder), effort.rounds)
    found.sort()
    worst_of_100 = found[-(len(found) // 100) - 1]
    spread = (found[0], found[-1])
    title = "breach → action, pushed"
    return [
        TableRow(f"{title}: median", statistics.median(found), "ms", more_is_better=False, spread=spread),
        TableRow(f"{title}: 99 of 100", worst_of_100, "ms", more_is_better=False, goal=20.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.pushed_breach", description="Breach → action, pushed.")
    parser.add_argument("--rounds", type=int, default=24, help="breaches of each daemon; 24 when not said")
    effort = QUICK_EFFORT._replace(rounds=parser.parse_args().rounds)
    print(format_plain(measure_rows(effort, lambda text: print(text, file=sys.stderr))))


if __name__ == "__main__":
    main()
