"""freqtrade's REST API: it wants a login at every address that says something, and what it says there is known."""

from __future__ import annotations

from typing import Any

API = "/api/v1"
PASSWORD_FILE = "freqtrade.password"  # noqa: S105 - its name
_USER = "freqtrader"
_VALUES: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    (
        "freqtrade",
        "profit",
        {
            "profit_ratio": "profit_all_ratio",
            "trades_won_total": "winning_trades",
            "trades_lost_total": "losing_trades",
            "current_drawdown": "current_drawdown",
        },
        "what freqtrade has earned",
    ),
    ("freqtrade-balance", "balance", {"equity": "total_bot"}, "the account, open positions included"),
    ("freqtrade-count", "count", {"open_trades": "current", "open_trades_limit": "max"}, "its open trades"),
    (
        "freqtrade-health",
        "health",
        {"last_process_timestamp_seconds": "last_process_ts"},
        "when its loop ran last: it answers, too, when that hangs",
    ),
    (
        "freqtrade-state",
        "show_config",
        {"bot_running": {"path": "state", "map": {"running": 1, "paused": 0, "stopped": 0, "reload_config": 1}}},
        "whether it trades",
    ),
)


def freqtrade_entries(base: str) -> list[tuple[str, dict[str, Any], str]]:
    """(name, entry, what it is) of each source. `base`: the address without a path."""
    login = {
        "url": f"{base}{API}/token/login",
        "basic": {"user": _USER, "password_file": PASSWORD_FILE},
    }
    return [
        (
            name,
            {"type": "http_json", "url": f"{base}{API}/{endpoint}", "every": "5s", "login": login, "values": values},
            about,
        )
        for name, endpoint, values, about in _VALUES
    ]


def is_pong(document: object) -> bool:
    """What its `/ping` answers, which wants no login."""
    return document == {"status": "pong"}
