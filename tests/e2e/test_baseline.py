"""`baseline capture | show | diff` through a real watchdog."""

from __future__ import annotations

import json

from tests.e2e.harness import RULES_TEMPLATE, E2EHarness, wait_until


def test_a_person_captures_what_is_normal_and_it_is_in_force_at_once_and_after_a_kill_nine(harness: E2EHarness) -> None:
    file = harness.folder / "rules" / "toy.yaml"
    file.write_text(
        file.read_text().replace("baseline: 1%", "baseline: captured").replace("above: 10%", "above: 20x baseline")
    )
    assert "baseline: 1%" in RULES_TEMPLATE
    refused = harness.run_cli("baseline", "capture")
    assert (refused.returncode, "no watchdog runs" in refused.stderr) == (1, True)
    dog = harness.start_watchdog()
    wait_until(lambda: harness.status()["kpis"]["errors"]["values"])
    assert "not captured yet" in harness.run_cli("baseline", "show").stdout

    # A machine that is busy elsewhere may keep the bot from answering for a moment: then nothing is captured.
    tries = (harness.run_cli("baseline", "capture", "--for", "1s") for _ in range(5))
    captured = next((one for one in tries if "is believed" not in one.stdout), None)

    assert captured is not None
    assert captured.returncode == 0, captured.stderr
    assert captured.stdout.splitlines()[0] == "capturing errors for 1 s"
    assert captured.stdout.splitlines()[1].startswith("errors: captured 1 % from ")
    shown = json.loads(harness.run_cli("baseline", "show", "--json").stdout)["errors"]
    assert (shown["value"], shown["text"]) == (0.01, "1 %")
    assert shown["revision"] == harness.git("rev-parse", "HEAD")
    assert 'watchdog_rule_limit{bound="upper",rule="errors-high",severity="critical",target="toy"} 0.2' in (
        harness.watchdog_metrics() or ""
    )
    compared = harness.run_cli("baseline", "diff")
    assert (compared.returncode, compared.stdout.split()[:4]) == (0, ["errors", "baseline", "1", "%"])
    assert "now 1 %, +0.0 pp" in compared.stdout

    dog.kill()
    dog.wait()
    harness.start_watchdog()
    wait_until(lambda: 'watchdog_kpi_baseline{kpi="errors",target="toy"} 0.01' in (harness.watchdog_metrics() or ""))
    wrong = harness.run_cli("baseline", "capture", "drawdown")
    assert "say baseline: captured in its file first" in wrong.stderr
