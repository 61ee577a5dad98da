"""Settings of the bot: one plain value per line, so that a person or a program can change one line."""

GLOBAL_TRADING = True  # False: no new entries; open positions are still closed. Read again every second.

PORT = 8000  # /metrics on 127.0.0.1; 0 takes any free port
PACE = 50.0  # bars per second; the market in sp500.csv makes one a day

START = 1010  # first bar walked: 1000 to learn from and 10 for the first volatility. After the last bar: again.
REFIT_EVERY = 21  # bars, a month of trading days
