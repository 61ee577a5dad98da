"""`sources`: the first thing a newcomer runs, and the first to look at when a KPI has no data."""

from __future__ import annotations

import itertools
import json
import socket
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.support.raw_http_server import RawHttpServer, StartServer, respond_with, start_server
from watchdog.cli import sources as command
from watchdog.cli.command_line import main
from watchdog.core.protocols import Match
from watchdog.sources import ScrapeSource

__all__ = ["start_server"]

RULES = """\
targets: {bot: {}}
kpis:
  equity: {expr: equity, unit: USDT}
  wins: {expr: "rate(trades_won_total[5m])"}
rules:
  - {name: equity-low, kpi: equity, target: bot, warn: {below: 100}}
  - {name: no-wins, kpi: wins, target: bot, warn: {below: 0.1}}
  - {name: many, target: bot, warn: {expr: trades_total > 5}}
"""


@pytest.fixture
def folder(tmp_path: Path, start_server: StartServer) -> Path:
    numbers = itertools.count(0, 100)

    def serve(server: RawHttpServer, connection: socket.socket) -> object:
        return respond_with(f'equity{{symbol="BTC"}} 1034.5\ntrades_total {next(numbers)}\n')(server, connection)

    return write(tmp_path, f'bot: {{type: scrape, url: "{start_server(serve).url}", every: 100ms, timeout: 30s}}')


def write(folder: Path, *sources: str) -> Path:
    (folder / "rules").mkdir()
    (folder / "rules" / "bot.yaml").write_text(RULES)
    listed = "".join(f"  {source}\n" for source in sources)
    (folder / "watchdog.yaml").write_text(f'state: state\nweb: {{listen: "127.0.0.1:9"}}\nsources:\n{listed}')
    return folder


def test_each_series_stands_there_with_what_reads_it_and_what_is_judged_comes_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sources", "--config", str(folder)]) == 0

    head, equity, trades, missing = capsys.readouterr().out.splitlines()
    assert head.startswith("bot (scrape, every 100 ms): up, 2 series, read in ")
    assert equity.split() == ['equity{symbol="BTC"}', "1034.5", "now", "equity"]
    name, value, rate, *_, reader = trades.split()
    assert (name, value, reader) == ("trades_total", "100", "many")
    assert rate.endswith("/s")
    assert 0 < float(rate[:-2]) < 1_001
    assert missing == "no source delivers trades_won_total, which wins reads — did you mean trades_total?"


def test_what_cannot_be_read_says_why_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, 'bot: {type: scrape, url: "http://127.0.0.1:9/"}', "host: {type: host}")

    assert main(["sources", "--once", "--config", str(folder)]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bot (scrape, every 1 s): down: http://127.0.0.1:9/: nobody listens there — ")
    assert lines[1].startswith("host (host, every 5 s): up, ")
    assert not any(line.startswith("no source delivers") for line in lines), "nobody knows what bot would deliver"


def test_one_source_is_shown_alone_and_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "bot", "--once", "--json", "--config", str(folder)]) == 0

    told = json.loads(capsys.readouterr().out)
    (bot,) = told["sources"]
    assert told["undelivered"] == {}
    assert {each["name"]: (each["value"], each["labels"], each["read_by"]) for each in bot["series"]} == {
        "equity": (1034.5, {"symbol": "BTC"}, ["equity"]),
        "trades_total": (0.0, {}, ["many"]),
    }


def test_a_source_that_is_not_there_is_refused_with_those_that_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sources", "bit", "--config", str(folder)]) == 1
    assert "did you mean bot?" in capsys.readouterr().err


def test_what_an_expression_matched_and_what_it_did_not_is_shown_with_the_nearest(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    matches = [
        Match("values.a", "account.equity", ("1034.5",)),
        Match("values.b", "account.balence", (), ("balance",)),
        Match("values.c", "state", ("RUN\x1b[2JNING",), why="no number"),
    ]
    monkeypatch.setattr(ScrapeSource, "explain", lambda self, now: matches, raising=False)

    assert main(["sources", "--once", "--config", str(folder)]) == 0

    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  values.b: account.balence matches nothing; nearest:")
    assert lines[at + 1 : at + 3] == [
        "    balance",
        "  values.c: state says nothing, no number: RUN\\x1b[2JNING",
    ]
    assert not any("values.a" in line for line in lines), "what matched stands among the series"


def test_watching_goes_on_until_somebody_ends_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = command._print_looks

    def count(*args: object) -> bool:
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return printed(*args)  # type: ignore[arg-type]

    looks: list[int] = []
    monkeypatch.setattr(command, "_print_looks", count)

    assert main(["sources", "--watch", "--config", str(folder)]) == 130
    assert capsys.readouterr().out.count("bot (scrape") == 2


def test_a_source_that_is_told_is_shown_as_the_watchdog_has_it_with_the_age_of_each_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: object, address: str, *__: object) -> tuple[int, object]:
        (expr,) = parse_qs(address.partition("?")[2])["expr"]
        if expr == '{source="bot"}':
            named: list[tuple[str, dict[str, str], float]] = [
                ("up", {}, 1.0),
                ("equity", {"venue": "x"}, 5.0),
                ("orders", {}, 2.0),
            ]
            series = [{"labels": dict(more, __name__=name, source="bot"), "values": [v]} for name, more, v in named]
        else:
            assert 'timestamp({__name__="equity", source="bot"})' in expr
            series = [
                {"labels": {"trading_watchdog_metric": "equity", "source": "bot", "venue": "x"}, "values": [91.0]}
            ]
        return 200, {"times": [100_000], "series": series}

    monkeypatch.setattr(command, "ask_for_json", answer)
    monkeypatch.setattr(command, "find_status", lambda *_: {"sources": {"bot": {"up": True, "error": None}}})

    assert main(["sources", "--once", "--config", str(write(tmp_path, "bot: {type: statsd}"))]) == 0

    first, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert " ".join(first) == "bot (statsd, every 1 s): 2 series, as the watchdog has them"
    assert ['equity{venue="x"}', "5", "9", "s", "old", "equity"] in rows
    assert ["orders", "2", "?", "-"] in rows
