"""The running watchdog answers questions about the samples it holds."""

from __future__ import annotations

import contextlib
import json
import threading
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.e2e.harness import E2EHarness, wait_until


def test_the_running_watchdog_answers_and_refuses_by_name(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()

    asked = harness.run_cli("query", "increase(beats_total[1s]) > 0", "--from", "now-2s", "--step", "1s", "--json")
    wrong = harness.run_cli("query", "avg_over_time(equity)")

    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert len(told["times"]) == 3
    assert told["series"][0]["labels"]["source"] == "bot"
    assert told["series"][0]["values"][-1] > 0
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr


def test_what_the_watchdog_of_another_configuration_holds_is_not_told_as_ours(harness: E2EHarness) -> None:
    harness.start_watchdog()
    other = harness.folder / "other"
    other.mkdir()
    main = (harness.folder / "watchdog.yaml").read_text().replace(f"state: {harness.folder}", f"state: {other}")
    (other / "watchdog.yaml").write_text(main)
    theirs, harness.folder = harness.folder / "watchdog.yaml", other

    for words in (("query", "equity"), ("status",)):
        asked = harness.run_cli(*words)
        assert (asked.returncode, asked.stdout) == (1, "")
        assert f"answers the watchdog of {theirs} — say web:" in asked.stderr


HOSTILE = [
    'sum(quantile_over_time(0.5, {__name__=~".+"}[1h:100ms]))',
    'count_values("v", {__name__=~".+"})',
    'max_over_time(max_over_time({__name__=~".+"}[1h:1ms])[1h:1ms])',
    "label_replace(" * 40 + "equity" + ', "source", "$1$1", "source", "(.*)")' * 40,
    "-" * 900 + "equity",
    "equity @ -1",
    "equity offset 1e400",
]


def test_whatever_is_asked_by_however_many_the_bot_is_halted_and_the_pages_are_served(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    stop, codes = threading.Event(), set[int]()

    def ask(number: int) -> None:
        while not stop.is_set():
            number += 1
            asked = urlencode({"expr": HOSTILE[number % len(HOSTILE)], "from": "now-15s", "step": "100ms"})
            with contextlib.suppress(OSError, HTTPException):
                codes.add(get_code(harness, f"/api/query?{asked}"))

    readers = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for each in readers:
        each.start()
    try:
        harness.set_equity(500)  # half of what it was
        wait_until(lambda: "TRADING = False" in (harness.repo / "config.py").read_text(), "the flag is set")
        assert [get_code(harness, path) for path in ("/healthz", "/metrics", "/", "/api/status")] == [200] * 4
        wait_until(lambda: {400, 503} <= codes, "queries were refused")
    finally:
        stop.set()
        for each in readers:
            each.join()

    assert codes <= {200, 400, 503}
    assert "Traceback" not in harness.watchdog_log()
    assert "panic" not in harness.watchdog_log()


def get_code(harness: E2EHarness, path: str) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{harness.web_port}{path}", timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except HTTPError as refused:
        with refused:
            return refused.code
