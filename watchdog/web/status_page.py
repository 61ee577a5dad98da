"""The page at `/`: what is so now, for a browser, wide or narrow. It reloads itself and runs no script."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from watchdog.core.text import escape
from watchdog.web.status_rows import build_status_rows, format_time

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.3rem; margin: .2rem 0 1rem }
h2 { font-size: 1rem; margin: 1.2rem 0 .2rem; opacity: .7 }
dl { margin: 0 }
dl div { display: grid; grid-template-columns: 15rem 1fr; border: 0 solid #8884; border-width: 1px 0 0 .35rem }
dt, dd { margin: 0; padding: .25rem .6rem; overflow-wrap: anywhere }
dt { font-weight: 600 }
.ok { border-left-color: #2a9d4a }
.warn { border-left-color: #e0a100; background: #e0a10022 }
.crit { border-left-color: #d62828; background: #d6282822 }
.none dd { opacity: .7 }
p { opacity: .7; font-size: .85rem; margin-top: 1.5rem }
@media (max-width: 36rem) { dl div { display: block } dd { padding-top: 0 } }
"""
STYLE_HASH = f"sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}"
"""Of the one style that the page has, for its Content-Security-Policy."""
_TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
{sections}
<p>As of {now}, looked at anew every 5 s. Version {version}.
<a href="/api/status">The same as JSON</a>, <a href="/metrics">metrics</a>.</p>
</html>
"""
_SECTIONS = {
    "files": "Configuration",
    "target": "Targets",
    "rule": "Rules",
    "kpi": "KPIs",
    "source": "Sources",
    "channel": "Channels",
    "silence": "Silenced",
    "history": "History",
}
"""In this order: what matters most is seen without scrolling."""


def render_status_page(status: Mapping[str, Any]) -> str:
    """`status`: what /api/status says. A whole page of HTML."""
    rows_by_kind: dict[str, list[str]] = {kind: [] for kind in _SECTIONS}
    names_by_state: dict[str, list[str]] = {"crit": [], "warn": []}
    kind = ""
    for row in build_status_rows(status):
        kind = row.kind or kind
        if row.state in names_by_state and kind in ("files", "target", "rule", "source", "channel"):
            names_by_state[row.state].append(row.name)
        rows_by_kind[kind].append(
            f'<div class="{row.state}"><dt>{_html(row.name)}</dt><dd>{_html(row.text)}</dd></div>\n'
        )
    worst = next(
        (f"{mood}: {', '.join(dict.fromkeys(names))}" for mood, names in names_by_state.items() if names),
        "nothing is wrong",
    )
    sections = (
        f"<h2>{title}</h2>\n<dl>\n{''.join(rows_by_kind[kind])}</dl>\n"
        for kind, title in _SECTIONS.items()
        if rows_by_kind[kind]
    )
    return _TEMPLATE.format(
        title=_html(f"Trading Watchdog – {worst}"),
        sections="".join(sections),
        now=format_time(status["now"]),
        version=_html(status["version"]),
        style=_STYLE,
    )


def _html(text: str) -> str:
    return html.escape(escape(text))
