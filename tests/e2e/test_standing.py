"""A halt, a resume, and what is still off: a real bot, a real watchdog, and its words."""

from __future__ import annotations

import urllib.request

from tests.e2e.harness import E2EHarness, wait_until

EMERGENCY = """\
plans:
  emergency:
    kind: halt
    levels:
      - name: stop
        steps:
          - {do: flag, file: config.py, set: {TRADING: false}}
          - {do: process, stop: process}
        verify: {that: ['process_up{source="process"} == 0'], give_up: 20s}
    recover:
      - name: start
        steps: [{do: process, start: process}]
        verify: {that: [bot_entries_enabled == 0], quiet: 500ms, give_up: 60s}
      - name: trading
        steps: [{do: flag, file: config.py, set: {TRADING: true}}]
        verify: {that: [bot_entries_enabled == 1], quiet: 500ms, give_up: 60s}
"""


def read_page(harness: E2EHarness) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{harness.web_port}/", timeout=20) as page:
        return str(page.read().decode())


def read_health(harness: E2EHarness) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{harness.web_port}/healthz", timeout=20) as page:
        return str(page.read().decode()).strip()


def target_status(harness: E2EHarness) -> dict[str, object]:
    known: dict[str, object] = harness.status()["targets"]["toy"]
    return known


def test_a_bot_that_stands_idle_after_a_resume_is_not_called_quiet(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    assert target_status(harness)["left"] == []
    harness.set_equity(800)
    wait_until(lambda: any(run["plan"] == "halt" and run["outcome"] == "proven" for run in harness.list_runs()))

    resumed = harness.run_cli("resume", "toy", "--reason", "withdrew 200 on purpose")

    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.strip() == (
        "toy resumed; its rules are judged anew; still off: TRADING — TRADING = True in config.py, then restart the bot"
    )
    harness.wait_until_healthy()
    wait_until(lambda: target_status(harness)["left"] == ["off: TRADING"])
    printed = harness.run_cli("status").stdout
    assert "off: TRADING" in printed
    assert "quiet" not in printed
    assert "<h1>Trading Watchdog – warn: toy</h1>" in read_page(harness)
    assert read_health(harness) == "ok"

    harness.write_repo_file("config.py", "TRADING = True  # by hand\n")

    wait_until(lambda: target_status(harness)["left"] == [])
    assert "<h1>Trading Watchdog – nothing is wrong</h1>" in read_page(harness)


def test_a_bot_that_a_halt_has_stopped_comes_back_by_a_resume_alone(harness: E2EHarness) -> None:
    rules = harness.folder / "rules" / "toy.yaml"
    rules.write_text(rules.read_text().replace("plans:\n", EMERGENCY, 1))
    harness.start_watchdog()
    harness.wait_until_healthy()
    halted = harness.run_cli("rollback", "emergency", "--reason", "the exchange is on fire", "--yes")
    assert halted.returncode == 0, halted.stderr
    assert harness.bot_pid() is None
    wait_until(lambda: target_status(harness)["left"] == ["off: TRADING", "stopped: the process"])
    (switch, _) = target_status(harness)["standing"]  # type: ignore[misc]
    assert switch["back"] == 'trading-watchdog resume toy --reason "…"'  # type: ignore[has-type]

    resumed = harness.run_cli("resume", "toy", "--reason", "it is out")

    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "emergency goes back to work in 2 stages" in resumed.stdout
    assert "still off: TRADING — emergency puts it back, stage by stage" in resumed.stdout
    wait_until(lambda: target_status(harness)["plan"] is None)
    assert target_status(harness)["latched"] is None
    wait_until(lambda: target_status(harness)["left"] == [])
    assert "TRADING = True" in (harness.repo / "config.py").read_text()
    assert harness.bot_pid() is not None
