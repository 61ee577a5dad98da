"""How it went since the last time: what is told once a day or once a week, and by `trading-watchdog summary`."""
