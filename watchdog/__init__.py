"""Trading Watchdog: watches a trading bot's KPIs, rolls it back, proves that it helped, tells people."""

DISTRIBUTION = "trading-watchdog"
"""Read by the start-up check: PyPI's file-events package of the same import name does not have it."""

__version__ = "0.1.0"
