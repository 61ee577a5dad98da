"""A real watchdog whose bot says +Inf, -Inf and NaN: every command says so in words, and none of it ends the judging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.harness import wait_until
from tests.e2e.page_daemon import PageDaemon

RULES = """\
targets: {bot: {}}
kpis:
  share: {expr: errors_total / requests_total, unit: ratio, baseline: 5%}
  none: {expr: idle / requests_total, unit: ratio, baseline: {learn: 1m, min_samples: 1}}
  low: {expr: "-1 * age", unit: USD, baseline: captured}
  drawdown: {expr: "1 - age / max_over_time(age[1h])", unit: ratio, since: resume}
  x: {expr: x}
rules:
  - {name: share, kpi: share, target: bot, crit: {above: 5%}}
  - {name: none, kpi: none, target: bot, crit: {above: 5%}}
  - {name: low, kpi: low, target: bot, crit: {below: 5}}
  - {name: drawdown, kpi: drawdown, target: bot, crit: {above: 5%}}
  - {name: condition, target: bot, crit: {expr: age > 5}}
  - {name: x, kpi: x, target: bot, crit: {above: 5}}
"""
PAGE = "errors_total 3\nrequests_total 0\nidle 0\nage +Inf\nx 9\n"


def strict(text: str) -> Any:
    """JSON, in which NaN and Infinity are no numbers."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_number_is_told_in_words_and_ends_no_judging(tmp_path: Path) -> None:
    bot = PageDaemon(tmp_path, RULES, PAGE)
    with bot.running():
        wait_until(lambda: bot.is_firing("x"), "the rule fires")
        wait_until(lambda: len(bot.status()["rules"]) == 6, "all is judged")

        assert bot.get("/")[0] == bot.get("/api/status")[0] == 200
        known = strict(bot.get("/api/status")[1])
        assert [(value["value"], value["text"]) for value in known["kpis"]["share"]["values"]] == [(None, "infinite")]
        reasons = {one["rule"]: (one["outcome"], one["reason"]) for one in known["rules"]}
        assert reasons == {
            "share": ("nodata", "share is infinite"),
            "none": ("nodata", "none is no number (0/0)"),
            "low": ("nodata", "low is minus infinite"),
            "drawdown": ("nodata", "drawdown is no number (0/0)"),
            "condition": ("nodata", "condition is infinite"),
            "x": ("bad", "x 9 is above 5"),
        }
        code, said = bot.cli("status")
        assert code == 0
        assert "infinite  (baseline 5 %)" in said
        code, said = bot.cli("baseline", "diff")
        assert code == 0
        assert "now minus infinite" in said
        assert strict(bot.cli("query", "age", "--json")[1])["series"][0]["values"] == ["+Inf"]
        assert '"+Inf"' in bot.cli("sources", "--once", "--json")[1]
        assert "The values of share at times at which it was infinite." in bot.cli("report", "1")[1]

        bot.page = PAGE.replace("x 9", "x 1").replace("+Inf", "1")
        wait_until(lambda: not bot.is_firing("x"), "it is judged on")
        wait_until(lambda: all(one["outcome"] == "ok" for one in bot.status()["rules"] if one["rule"] == "condition"))
    bot.server.close()
    assert "Traceback" not in bot.log()
