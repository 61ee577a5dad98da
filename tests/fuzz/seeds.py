"""What each target begins with: small, sound, and taken from what stands in the tests, the rules and the pages anyway; and
what broke one of them once."""

from __future__ import annotations

import gzip
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.actions.test_values import EDITS
from tests.config.conftest import BASE_RULES, MAIN_YAML

__all__ = [
    "FLAG_FILES",
    "MAIN_YAML",
    "answers",
    "exposition",
    "flags",
    "found",
    "json_documents",
    "json_lines",
    "log",
    "openmetrics",
    "paths",
    "perfdata",
    "promql",
    "requests",
    "rules",
    "sqlite",
    "textfiles",
]

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-sixteen"
FLAG_FILES = ("c.py", "c.yaml", "c.json", "c.toml", "c.ini", ".env")
_PAGE = (
    b"# HELP trades_total Trades.\n# TYPE trades_total counter\n"
    b'trades_total{side="buy",exchange="a\\"b\\\\c\\nd"} 1 1700000000000\n\n'
    b'trades_total{ side = "sell", } +Inf\nequity -1.5e3\n  up{} NaN\r\n'
)
_OPENMETRICS = (
    b"# HELP trades Trades.\n# TYPE trades counter\n"
    b'trades_total{side="buy",exchange="a\\"b\\\\c\\nd"} 1 1700000000.5 # {trace="x"} 1 1700000000\n'
    b'trades_created{side="buy",exchange="a\\"b\\\\c\\nd"} 1699990000.25\n# TYPE wait histogram\n'
    b'wait_bucket{le="+Inf"} 2 # {} NaN\nwait_count 2\nwait_sum 1e-3\nwait_created 1\n# UNIT up seconds\nup 1\n# EOF\n'
)


def exposition() -> Iterator[bytes]:
    yield _PAGE
    yield from (line + b"\n" for line in _PAGE.splitlines() if line)


def openmetrics() -> Iterator[bytes]:
    yield _OPENMETRICS
    yield from (line + b"\n# EOF\n" for line in _OPENMETRICS.splitlines())


def promql() -> Iterator[bytes]:
    """Every expression of the shipped rules, and of the page about PromQL."""
    for path in sorted((ROOT / "rules").glob("*.yaml")):
        for found in re.finditer(r"expr: *(?:\"([^\"\n]+)\"|([^\"\n{},][^\n,}]*))", path.read_text()):
            yield (found[1] or found[2]).encode()
    for found in re.finditer(r"`([^`\n]*[(\[{][^`\n]*)`", (ROOT / "docs" / "promql.md").read_text()):
        yield found[1].encode()
    yield b'sum by (side) (rate(left{side=~"a|b"}[5m:15s] offset 1m)) / on(side) group_left() right @ 1700000000 > bool 0.5'
    yield b'label_replace(left, "x", "$1", "side", "(.*)") or vector(1) unless topk(1, right) ^ -2 # why'


def rules() -> Iterator[bytes]:
    yield BASE_RULES.encode()
    yield from (path.read_bytes() for path in sorted((ROOT / "rules").glob("*.yaml")))


def flags() -> Iterator[bytes]:
    suffixes = {".py": 0, ".yaml": 1, ".yml": 1, ".json": 2, ".jsonc": 2, ".toml": 3, ".ini": 4, ".cfg": 4}
    for file, content, _, _ in EDITS:
        yield bytes([suffixes.get(Path(file).suffix, 5), 1]) + content.encode()


def requests() -> Iterator[bytes]:
    for target in ("/", "/metrics", "/healthz", "/api/status", "/api/query?expr=left&at=now-1m", "/nowhere"):
        yield f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:9099\r\nAccept: */*\r\n\r\n".encode()
    yield b"GET /api/query?expr=sum(left)&from=now-5m&to=2023-11-14T22:13:20Z&step=15s HTTP/1.0\r\n\r\n"
    yield b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n"
    yield b"HEAD / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nHost: [::1]:9099\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    head = b"POST /push/bot HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
    yield head + b"Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nequity 1\n"
    yield (
        head
        + b'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nd;x=y\r\n{"equity": 1}\r\n0\r\nA: b\r\n\r\n'
    )
    packed = gzip.compress(b"equity 1\n", mtime=0)
    length = str(len(packed)).encode()
    yield head + b"Content-Encoding: gzip\r\nExpect: 100-continue\r\nContent-Length: " + length + b"\r\n\r\n" + packed
    for kind in ("", "/start", "/fail", "/log", "/255"):
        yield f"GET /heartbeat/bot/{TOKEN}{kind} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def answers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 9\r\n\r\nequity 1\n"
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9;x=y\r\nequity 1\n\r\n0\r\nTrailer: x\r\n\r\n"
    yield b'HTTP/1.0 200 OK\r\n\r\n{"status": [1, 2.5e3, null]}'
    yield b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03K-,\xcd,\xa9T0\xe4\x02\x00"
    yield b"HTTP/1.1 301 Moved\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n"
    yield b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\n"


def json_documents() -> Iterator[bytes]:
    yield b'{"account": {"equity": "10512.25", "at": 1}, "rows": [{"s": "a", "n": 1}, {"s": "b", "n": NaN}], "state": "on"}'
    yield (
        b'{"status": "success", "data": {"resultType": "vector", "result": ['
        b'{"metric": {"__name__": "x", "a": "1"}, "value": [1699999999.5, "-1.5e3"]}]}, "warnings": ["PromQL info: x"]}'
    )
    yield b'{"status": "error", "errorType": "bad_data", "error": "1:5: parse error"}'


def pushed() -> Iterator[bytes]:
    yield _PAGE
    yield b'{"equity": 10250.5, "open_positions": "3", "halted": false}'
    yield b'{"name": "p", "value": 0.4, "labels": {"symbol": "BTC", "n": 1}, "time": 1700000000}\n{"equity": -1e3}\n'
    yield b'[{"name": "p", "value": 1, "time": "2023-11-14T22:13:20Z"}, {"a": true}]'


def statsd() -> Iterator[bytes]:
    yield b"bot.orders:1|c|@0.5|#side:buy,live\nequity:10250.5|g\nequity:+2|g\n"
    yield b"latency:3:5.5|ms\nlatency:1e3|h|#a:b\nsize:2|d|T1700000000|c:abc\nusers:x|s\n"
    yield b"_e{5,4}:title|text\n_sc|db|0\n"


def sqlite() -> Iterator[bytes]:
    for version in (1, 2):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            database.execute("PRAGMA page_size=512")
            database.execute("CREATE TABLE trades(symbol TEXT, pnl, at)")
            database.execute("CREATE VIEW view AS SELECT symbol, pnl FROM trades WHERE pnl > 0")
            database.execute("CREATE INDEX by_symbol ON trades(symbol)")
            rows = [
                ("BTC", 1.5, 1_699_999_999),
                ("ETH", "-2", "2023-11-14 22:13:19"),
                (None, b"\0", None),
                ("x" * 900, 9e99, 0),
            ]
            database.executemany("INSERT INTO trades VALUES (?, ?, ?)", rows)
            content = database.serialize()
        yield content[:19] + bytes([version]) + content[20:]  # as with a write-ahead log, and without


def perfdata() -> Iterator[bytes]:
    yield b"DISK OK - free space: / 3326 MB (56%);|/=2643MB;5948;5958;0;5968 '/a b''c'=1.5%;@5:10;~:3;; time=0,25s;;;0\n"
    yield b"OK\nmore text | users=3;;10:\nqueue=U rate=1e3c conns=+2\n| x=-0.5KiB"


def paths() -> Iterator[bytes]:
    document = b'{"a": {"b": [1, {"c": "x"}], "n": -1.5}, "t": "2023-11-14T22:13:20+01:00", "ok": true, "none": null}'
    for path in (
        b"a.n < `0` && !(none)",
        b"a.b[1].c == 'x' || ok",
        b"a.b[?c].c | [0]",
        b"length(a.b)",
        b'"t"',
        b"@",
        b"to_number(a.n)",
    ):
        yield path + b"\n" + document
    yield b"1700000000.5\n1700000000123456"


def json_lines() -> Iterator[bytes]:
    yield (
        b'\0\x20{"type": "trade", "pnl": -1.5, "symbol": "BTC", "at": 1699999990}\n'
        b'{"type": "trade", "dry": true, "pnl": "-2"}\r\n\n{"account": {"equity": 10.5}, "at": "2023-11-14T22:13:10Z"}\n'
        b'[1]\n{"type": "trade", "pnl": NaN, "symbol": null}\nno json\n{"half": '
    )
    yield b'\0\x05\xef\xbb\xbf{"type": "trade"} {"type": "trade"}\n\xff\xfe\n"text"\n'


def log() -> Iterator[bytes]:
    yield (
        b"\x02no beginning\n2023-11-14 23:13:10,250 INFO filled 1.234,50 equity=10.5\n"
        b"2023-11-14 23:13:11,000 ERROR order rejected\nTraceback (most recent call last):\n"
        b'  File "bot.py", line 1\nccxt.NetworkError: timeout\n2023-10-29 02:30:00,000 ERROR will retry\n\n'
        b"2023-11-14 23:13:12,000 CRITICAL \xff\x1b[31m equity=nan\r\n"
    )


def textfiles() -> Iterator[bytes]:
    yield _PAGE + b"\0" + _OPENMETRICS
    yield b'a 1\n\0a 1\n\0\0b{x="y"} 2 1700000000000\n'


def found(target: str) -> Iterator[bytes]:
    """What broke that target once; beneath each, what became of it."""
    yield from FOUND.get(target, ())


FOUND: dict[str, tuple[bytes, ...]] = {
    "promql": (
        b'a{b="' + b"\\\\" * 30_000 + b'"}',  # the process died: the parser beneath recursed for each backslash
        b"-" * 3_000 + b"a",  # 3 s, and four times as many for twice as much
    ),
    "openmetrics": (  # a restart of ours made its counter begin anew
        b"# TYPE a counter\na_total 1 170000000025\na_created 3399980000\n# EOF\n",
    ),
    "rules": (b"a:\r\r\r\rb\r:\r",),  # nothing: YAML's lines end like this, too
    "web": (b"GET http://[ HTTP/1.1\r\n\r\n",),  # closed without an answer
    "flags": (bytes([3, 1]) + b"a." * 32_000 + b"b = 1\n",),  # 2 s in tomllib, and four times as many for twice as much
}
