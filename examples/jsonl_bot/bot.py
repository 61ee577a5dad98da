"""A trading bot that says what it does in JSON lines, as most bots do, and nothing else.

    python bot.py [--folder DIR] [--pace BARS_PER_SECOND] [--bad-after BARS]

Writes events.jsonl, reads settings.json ({"trading": true}) before each trade, stops on SIGTERM. After `--bad-after` bars it
loses every trade: what a bad version, a wrong setting or a changed market looks like from outside.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

BARS_PER_TRADE = 3
BARS_PER_REFUSAL = 60  # the exchange is never quite well
stopping = False


def stop(*_: object) -> None:
    global stopping  # noqa: PLW0603
    stopping = True


def wants_trades(settings: Path) -> bool:
    """What settings.json says; without it nothing is traded."""
    try:
        return bool(json.loads(settings.read_text())["trading"])
    except (OSError, ValueError, KeyError):
        return False


def write(events: TextIO, kind: str, **what: Any) -> None:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    events.write(json.dumps({"ts": stamp, "type": kind, **what}) + "\n")
    events.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--pace", type=float, default=5.0)
    parser.add_argument("--bad-after", type=int, default=100)
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    settings: Path = options.folder / "settings.json"
    if not settings.exists():
        settings.write_text('{\n  "trading": true\n}\n')
    chance, equity, streak, bar = random.Random(7), 10_000.0, 0, 0
    with (options.folder / "events.jsonl").open("a") as events:
        while not stopping:
            bar += 1
            trading = wants_trades(settings)
            if trading and bar % BARS_PER_REFUSAL == 0:
                write(events, "order", ok=False)
            elif trading and bar % BARS_PER_TRADE == 0:
                write(events, "order", ok=True)
                won = bar <= options.bad_after and chance.random() < 0.6
                pnl = round(chance.uniform(5, 15) * (1 if won else -1), 2)
                equity, streak = equity + pnl, 0 if won else streak + 1
                write(events, "trade", symbol=chance.choice(["BTC", "ETH"]), qty=0.1, pnl=pnl)
            regime = chance.choice(["bull", "bull", "bear"])
            write(events, "bar", equity=round(equity, 2), losing_streak=streak, trading=trading, regime=regime)
            time.sleep(1 / options.pace)


if __name__ == "__main__":
    main()
