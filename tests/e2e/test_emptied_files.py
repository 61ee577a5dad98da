"""A real watchdog whose files are emptied while a rule fires: it goes on with what it has, until somebody says otherwise."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.harness import wait_until
from tests.e2e.page_daemon import PageDaemon

RULES = """\
targets: {bot: {}}
kpis: {errors: {expr: errors}}
rules:
  - {name: errors-high, kpi: errors, target: bot, crit: {above: 5}}
"""


def test_emptied_files_are_refused_by_a_reload_told_at_a_start_and_taken_from_who_insists(tmp_path: Path) -> None:
    bot = PageDaemon(tmp_path, RULES, "errors 9\n")
    with bot.running():
        wait_until(lambda: bot.is_firing("errors-high"), "the rule fires")
        bot.rules.write_text("")
        wait_until(lambda: "not reloaded" in bot.log(), "the files were looked at")

        assert bot.is_firing("errors-high")
        assert bot.get("/healthz")[1].startswith(
            "ok\nthe files on disk are not in force: they would take away every rule"
        )
        assert "every rule (1): rules/rules.yaml is empty" in bot.cli("status")[1]
        code, said = bot.cli("reload")
        assert code == 1
        assert "\nrules/rules.yaml is empty:\n" in said
        assert "\nrule errors-high (crit) of bot source=bot, which fires\n" in said
        assert "a reload refuses this: it would take away every rule (1)" in bot.cli("check")[1]

        code, said = bot.cli("reload", "--yes", "--reason", "retired", "--json", LOGNAME="ana", SUDO_USER="ana")
        assert (code, json.loads(said)["ok"]) == (0, True), said
        wait_until(lambda: "closed after" in bot.cli("incidents", "1")[1], "the incident is over")
        told = bot.cli("incidents", "1")[1]
        assert "errors-high (crit) was removed by ana" in told
        assert "it was removed by ana" in told
        assert "recovered" not in told
        assert "Configuration reloaded by ana: it takes away every rule (1)" in bot.log()
        assert bot.get("/healthz") == (200, "ok\n")

        bot.rules.write_text(RULES)
        wait_until(lambda: bot.status()["rules"] and bot.is_firing("errors-high"), "it is judged again")
    bot.rules.unlink()
    with bot.running():
        code, said = bot.get("/healthz")
        assert code == 503
        assert said.startswith("started without every rule (1)")
        assert (
            "rule errors-high (crit) of bot source=bot, which fires: rules/rules.yaml is gone" in bot.cli("status")[1]
        )
        wait_until(lambda: "incident 2 closed" in bot.log(), "the incident is over")
        assert "it was removed from the files before this start" in bot.log()
        assert "message: Started without what was watched before: every rule (1)" in bot.log()
        assert bot.cli("reload", "--yes")[0] == 0
        assert bot.get("/healthz") == (200, "ok\n")
    bot.server.close()
    code, said = bot.cli("reload")
    assert (code, "no watchdog runs" in said) == (1, True)
