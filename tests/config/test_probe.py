"""`check --probe`: expressions against what the sources deliver at the moment."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.config.conftest import WriteConfig
from tests.support.sources import CallableSource, FakePush
from watchdog.cli import check as command
from watchdog.cli.command_line import main
from watchdog.config.probe import probe_sources
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState

METRICS = b'errors_total 1\ngood 1\nall 2\nentries 0\nspread{side="bid"} 1\nspread{side="ask"} 2\n'
RULES = """\
kpis:
  typo: {expr: 'rate(errors_totl[1m])', needs: 'count_over_time(errors_total[1m]) >= 2'}
  spread: {expr: spread}
  bid: {expr: 'spread{side="bid"}'}
  host: {expr: 'entries{source="host"}'}
rules:
  - {name: a, kpi: spread, target: bot, warn: {above: 5}}
  - {name: b, kpi: bid, target: bot, warn: {above: 5}, only: {when: 'up{source="bot"} == 1'}}
  - {name: c, kpi: spread, target: bot, each: [side], warn: {above: 5}}
plans:
  p: {kind: halt, levels: [{name: l, steps: [{do: systemd, stop: unit}], verify: {that: [entreis == 0]}}]}
"""


class MetricsHandler(BaseHTTPRequestHandler):
    page = METRICS

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(command, "_PROBE_INTERVAL_S", 0.01)
    server = HTTPServer(("127.0.0.1", 0), MetricsHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_labels_that_a_plan_changes_are_known_from_what_is_delivered(
    write_config: WriteConfig, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MetricsHandler, "page", b'latency{version="2",pid="7"} 1\n')
    plan = "levels: [{name: l, steps: [{do: systemd, restart: unit}]}]"
    rules = f"""\
kpis: {{seen: {{expr: latency}}, summed: {{expr: sum(latency)}}, told: {{expr: latency}}}}
rules:
  - {{name: a, kpi: seen, target: bot, crit: {{above: 5, for: 1m, plan: p}}}}
  - {{name: b, kpi: summed, target: bot, crit: {{above: 5, for: 1m, plan: p}}}}
  - {{name: c, kpi: told, target: bot, crit: {{above: 5}}}}
  - {{name: d, kpi: told, target: bot, each: [source], crit: {{above: 5, for: 1m, plan: p}}}}
plans: {{p: {{kind: repair, mode: auto, exhausted: leave-running, verify: {{quiet: 1m}}, {plan}}}}}
"""
    answer = run_probe(write_config, port, capsys, rules)

    (warning,) = (one for one in answer["warnings"] if "tell one state from another, and" in one["what"])
    assert (warning["line"], "pid, version" in warning["what"]) == (3, True)


def run_probe(
    write_config: WriteConfig, port: int, capsys: pytest.CaptureFixture[str], rules: str = RULES
) -> dict[str, Any]:
    sources = f'sources:\n  bot: {{type: scrape, url: "http://127.0.0.1:{port}/metrics"}}\n  host: {{type: host}}\n'
    channels = "channels: {chat: {type: slack, token: xoxb-12345678, channel: C0123456}}\n"
    folder = write_config({"watchdog.yaml": sources + channels, "rules/x.yaml": rules})
    assert main(["check", str(folder), "--probe", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_metrics_that_nobody_delivers_are_named_at_their_place(
    write_config: WriteConfig, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_probe(write_config, port, capsys)
    doubts = [(each["line"], f"{each['what']} — {each['cure']}") for each in told["warnings"]]

    assert doubts == [
        (2, "no source delivers errors_totl — did you mean errors_total?"),
        (5, "the source host does not deliver entries — did you mean entries?"),
        (
            7,
            "spread reads 2 series and the rule has no each: every label then tells one state from another — "
            "say each: with those that should",
        ),
        (11, "nothing starts the plan p — name it in a rule's crit or as a plan's exhausted, or delete it"),
        (11, "no source delivers entreis — did you mean entries?"),
    ]


def test_who_delivers_is_known_then_and_so_is_the_worst_case(
    write_config: WriteConfig, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = {(each["rule"], each["level"]): each for each in run_probe(write_config, port, capsys)["rules"]}

    assert rules["a", "warn"]["worst"] == 1_000  # not the five seconds of `host`
    assert rules["base-repair", "crit"]["worst"] == 62_000


def test_a_source_that_cannot_be_read_raises_no_doubt_and_is_named(
    write_config: WriteConfig, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_probe(write_config, 1, capsys)

    assert list(told["unread"]) == ["bot"]
    assert not [each for each in told["warnings"] if "deliver" in str(each["what"]) and "host" not in str(each["what"])]


def test_without_a_probe_it_says_that_it_did_not_look(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_config({"rules/x.yaml": RULES}))]) == 0
    assert "was not looked at: say --probe" in capsys.readouterr().out


class ThriceRead(CallableSource):
    reads_needed = 3


def test_each_source_is_read_as_often_as_it_needs_and_goes_on_from_what_it_remembers() -> None:
    reads: list[str] = []

    def once(*_: object) -> list[Sample]:
        reads.append("once")
        return [Sample("a", (), 0, 1.0)]

    def more(state: SourceState, cache: SourceCache, _: Millis) -> list[Sample]:
        reads.append("more")
        state["n"], cache["n"] = state.get("n", 0) + 1, cache.get("n", 0) + 10
        return [Sample(f"b{state['n'] + cache['n']}", (), 0, 1.0)]

    found = probe_sources({"one": CallableSource(once), "two": ThriceRead(more)}, lambda: 0, lambda: reads.append("-"))

    assert sorted(reads[:2]) == ["more", "once"]
    assert reads[2:] == ["-", "more", "-", "more"]
    assert found.metrics() == {"one": {"a", "up"}, "two": {"b11", "b22", "b33", "up"}}
    assert found.failed == {}


def test_a_source_of_which_one_read_fails_is_known_by_the_other_and_a_receiver_is_left_to_the_daemon() -> None:
    def second_only(_: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        cache["n"] = cache.get("n", 0) + 1
        if cache["n"] == 1:
            raise SourceError("not yet")
        return [Sample("late", (), now, 1.0)]

    push = FakePush()
    found = probe_sources({"late": ThriceRead(second_only), "push": push}, lambda: 0, lambda: None)

    assert found.metrics() == {"late": {"late", "up"}}
    assert found.failed == {"push": "it listens to what others send — only the daemon can do that"}
    assert push.opened == []


def test_what_came_to_a_receiver_is_what_the_daemon_says_came() -> None:
    answers: dict[str, frozenset[tuple[str, Labels]] | str] = {"known": frozenset({("equity", ())}), "lost": "down"}

    found = probe_sources({"known": FakePush(), "lost": FakePush()}, lambda: 0, lambda: None, lambda names: answers)

    assert found.metrics() == {"known": {"equity", "up"}}
    assert found.failed == {"lost": "down"}
