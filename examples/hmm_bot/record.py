"""Records what the bot shows, as history for `trading-watchdog replay`.

    python record.py healthy.csv --healthy 600
    python record.py bad_v2.csv --healthy 240 --bad 300 --after 540 --labels bad_v2_incidents.csv

Starts the bot in a folder of its own, reads its page once a second and writes one row for each read: the time in
milliseconds, then every series. With --bad, v2 is copied over it and the bot restarted, as a deployment would; with
--after, v1 comes back. Reads that fail (the bot restarts) leave no row. What is about the process or the interpreter
rather than the bot (process_*, python_*, bot_info) is left out.
"""

import argparse
import csv
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
EXCLUDED_PREFIXES = ("process_", "python_", "bot_info", "#")

MetricRow = dict[str, str]


class Recorder:
    """The bot in its own folder, and the recording so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[int, MetricRow]] = []
        for name in ("bot.py", "model.py", "config.py", "sp500.csv"):
            shutil.copy(FOLDER / name, folder / name)
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            self.port = int(door.getsockname()[1])
        self.start()

    def start(self) -> None:
        self.bot = subprocess.Popen([sys.executable, "bot.py", "--port", str(self.port)], cwd=self.folder)

    def stop(self) -> None:
        self.bot.send_signal(signal.SIGTERM)
        self.bot.wait(30)

    def deploy(self, version: Path) -> int:
        """Restarts the bot with that version's model and configuration. Returns when, in ms."""
        for name in ("model.py", "config.py"):
            shutil.copy(version / name, self.folder / name)
        self.stop()
        self.start()
        return time.time_ns() // 1_000_000

    def record(self, seconds: float) -> None:
        due = time.monotonic()
        end = due + seconds
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.time_ns() // 1_000_000
            if row := self.read_metrics():
                self.rows.append((now, row))
            due += 1

    def read_metrics(self) -> MetricRow:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=1) as page:
                text = page.read().decode()
        except OSError:
            return {}
        kept = (line for line in text.splitlines() if line and not line.startswith(EXCLUDED_PREFIXES))
        return {series: format_value(value) for series, _, value in (line.rpartition(" ") for line in kept)}

    def write(self, path: Path) -> None:
        names = sorted({name for _, row in self.rows for name in row})
        with path.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["time", *names])
            out.writerows([t, *(row.get(name, "") for name in names)] for t, row in self.rows)


def format_value(value: str) -> str:
    """Seven decimals are plenty, and whole numbers need no point."""
    number = round(float(value), 7)
    return str(int(number)) if number.is_integer() else repr(number)


def format_time(t: int) -> str:
    return datetime.fromtimestamp(t / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--healthy", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--bad", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--after", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--labels", type=Path, help="write when v2 ran: start,end,name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        stage = Recorder(Path(name))
        try:
            stage.record(arguments.healthy)
            if arguments.bad:
                start = stage.deploy(FOLDER / "v2")
                stage.record(arguments.bad)
                end = stage.deploy(FOLDER) if arguments.after else time.time_ns() // 1_000_000
                stage.record(arguments.after)
                if arguments.labels is not None:
                    arguments.labels.write_text(
                        f"start,end,name\n{format_time(start)},{format_time(end)},v2 deployed\n"
                    )
        finally:
            stage.stop()
        stage.write(arguments.csv)


if __name__ == "__main__":
    main()
