"""A small trading bot: long while the market is calm, out of it otherwise. Walks through sp500.csv at a set pace.

    python bot.py [--port N] [--pace BARS_PER_SECOND]

Shows /metrics on 127.0.0.1, keeps its place over restarts in state.json, stops on SIGTERM.
"""
# ruff: noqa: E402 (some things must be said before numpy and config are imported)

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # more threads only wait for each other on matrices this small
os.environ["PROMETHEUS_DISABLE_CREATED_SERIES"] = "1"
sys.dont_write_bytecode = True  # a cached config.py could outlive an edit made within the same second

import argparse
import ast
import json
import logging
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import config  # type: ignore[import-not-found]
import numpy as np
from model import VERSION, Regimes  # type: ignore[import-not-found]
from prometheus_client import Counter, Gauge, Info, start_http_server

FOLDER = Path(__file__).resolve().parent
COST = 0.0005  # of the equity, for each entry and each exit
RETURN_BARS = 250  # window of strategy_return
ATR_BARS = 14
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}

BARS = Counter("hmm_bars", "Bars whose regime was told.")
CHANGES = Counter("hmm_regime_changes", "Bars whose regime differs from the bar before.")
CONFIDENCE_SUM = Counter("hmm_confidence_sum", "Sum of hmm_confidence over all bars: divide by hmm_bars_total.")
PREDICTIONS = Counter("predictions", "Predictions asked for.")
PREDICTION_ERRORS = Counter("prediction_errors", "Predictions that raised.")
INVALID_PREDICTIONS = Counter("invalid_predictions", "Predictions that were no probability.")
TRAININGS = Counter("training_attempts", "Fits of the model.")
TRAINING_FAILURES = Counter("training_failures", "Fits that raised; the model before is kept.")
TRADES = Counter("trades", "Closed trades.", ["result"])
GAUGES = {
    "hmm_regime": "0 is the calmest.",
    "hmm_confidence": "Probability of the regime told.",
    "equity": "Account value.",
    "losing_streak": "Trades lost since the last one won.",
    "atr": f"Average true range from close to close, {ATR_BARS} bars, in index points.",
    "strategy_return": f"Change of equity over the last {RETURN_BARS} bars.",
    "exchange_connection_failures": "Failures in a row. A file never fails.",
    "market_open": "1 while bars come.",
    "last_tick_timestamp_seconds": "When the last bar came.",
    "bot_entries_enabled": "GLOBAL_TRADING as the bot last read it.",
    "bot_bar": "Number of the last bar.",
}
_gauges: dict[str, Gauge] = {}


def set_gauge(name: str, value: float) -> None:
    """Sets a gauge. It comes into being with its first value: a 0 that nobody measured would spoil averages."""
    if name not in _gauges:
        _gauges[name] = Gauge(name, GAUGES[name])
    _gauges[name].set(value)


@dataclass
class State:
    """What survives a restart."""

    bar: int = config.START  # the next one
    equity: float = 10_000.0
    paid: float | None = None  # equity at the entry while in the market
    losing_streak: int = 0
    curve: list[float] = field(default_factory=list)  # the last equities, at most RETURN_BARS + 1


class Bot:
    def __init__(self) -> None:
        self.closes = np.loadtxt(FOLDER / "sp500.csv", delimiter=",", usecols=1)
        self.regimes = Regimes(self.closes)
        saved = FOLDER / "state.json"
        self.state = State(**json.loads(saved.read_text())) if saved.exists() else State()
        self.entries = bool(config.GLOBAL_TRADING)
        self.fitted = False
        self.regime: int | None = None

    def step(self) -> None:
        """One bar: what it did to the equity, what regime it tells, what to do about it."""
        state, bar = self.state, self.state.bar
        if state.paid is not None:
            state.equity *= self.closes[bar] / self.closes[bar - 1]
        if not self.fitted or (bar - config.START) % config.REFIT_EVERY == 0:
            self.fit(bar)
        if self.fitted and (told := self.predict(bar)):
            regime, confidence = told
            BARS.inc()
            CHANGES.inc(self.regime is not None and regime != self.regime)
            CONFIDENCE_SUM.inc(confidence)
            set_gauge("hmm_regime", regime)
            set_gauge("hmm_confidence", confidence)
            self.regime = regime
            self.trade(calm=regime == 0)
        state.curve = [*state.curve[-RETURN_BARS:], state.equity]
        if len(state.curve) > RETURN_BARS:
            set_gauge("strategy_return", state.equity / state.curve[0] - 1)
        set_gauge("equity", state.equity)
        set_gauge("losing_streak", state.losing_streak)
        set_gauge("atr", np.abs(np.diff(self.closes[bar - ATR_BARS : bar + 1])).mean())
        set_gauge("last_tick_timestamp_seconds", time.time())
        set_gauge("bot_bar", bar)
        state.bar = bar + 1 if bar + 1 < len(self.closes) else config.START

    def fit(self, bar: int) -> None:
        TRAININGS.inc()
        try:
            self.regimes.fit(bar)
            self.fitted = True
        except Exception:
            TRAINING_FAILURES.inc()
            logging.exception("fit at bar %d", bar)

    def predict(self, bar: int) -> tuple[int, float] | None:
        PREDICTIONS.inc()
        try:
            regime, confidence = self.regimes.predict(bar)
        except Exception:
            PREDICTION_ERRORS.inc()
            logging.exception("prediction at bar %d", bar)
            return None
        if not 0 <= confidence <= 1 + 1e-9:  # NaN fails too
            INVALID_PREDICTIONS.inc()
            return None
        return regime, confidence

    def trade(self, calm: bool) -> None:
        state = self.state
        if calm and state.paid is None and self.entries:
            state.paid = state.equity
            state.equity *= 1 - COST
        elif not calm and state.paid is not None:
            state.equity *= 1 - COST
            won = state.equity > state.paid
            TRADES.labels("win" if won else "loss").inc()
            state.losing_streak = 0 if won else state.losing_streak + 1
            state.paid = None

    def reload_and_save(self) -> None:
        """Once a second: is trading still wanted, and where are we, should the next second be the last."""
        try:
            tree = ast.parse((FOLDER / "config.py").read_text())
            for line in tree.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "GLOBAL_TRADING":
                    self.entries = bool(ast.literal_eval(line.value))
        except (OSError, ValueError, SyntaxError):
            logging.exception("config.py cannot be read, entries stay as they were")
        set_gauge("bot_entries_enabled", self.entries)
        new = FOLDER / "state.json.new"
        new.write_text(json.dumps(asdict(self.state)))
        new.replace(FOLDER / "state.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=config.PORT)
    parser.add_argument("--pace", type=float, default=config.PACE, help="bars per second")
    arguments = parser.parse_args()

    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # taken below between two bars, never inside one
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # a fit that ran out of iterations is no news
    Info("bot", "The bot.").info({"version": VERSION})
    for result in ("win", "loss"):
        TRADES.labels(result)
    set_gauge("exchange_connection_failures", 0)
    set_gauge("market_open", 1)
    server, _ = start_http_server(arguments.port, "127.0.0.1")
    print(f"{VERSION} on http://127.0.0.1:{server.server_port}/metrics", flush=True)

    bot = Bot()
    bar_due = reload_due = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= reload_due:
            bot.reload_and_save()
            reload_due = now + 1
        if now >= bar_due:
            bot.step()
            bar_due = max(bar_due + 1 / arguments.pace, now - 1)  # late bars are made up for, a second of them
        if signal.sigtimedwait(STOP_SIGNALS, max(0.0, min(bar_due, reload_due) - time.monotonic())):
            break
    bot.reload_and_save()


if __name__ == "__main__":
    main()
