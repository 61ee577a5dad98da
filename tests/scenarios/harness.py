"""A whole watchdog but for its clock and its loop of reading: the real pipeline, rollback, people and places, over real
files and a real repository. A second goes by when a test says so, and the bot shows what follows from its files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.actions import GitRepo
from tests.support.pipeline_harness import MAIN_YAML, SECOND, START, PipelineHarness
from watchdog.app.deploy_watch import DeployWatch, inspect_target
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import Millis
from watchdog.journal import incidents
from watchdog.journal.runs import PlanRun
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.runner import RollbackRunner

CONFIG_PY = "TRADING = True  # new positions\nFEATURE = True\nMODEL = 2\n"

RULES_TEMPLATE = """\
targets:
  bot: {{repo: {repo}, cooldown: 10s, settling: 1m{target}}}
kpis:
  errors: {{expr: error_ratio, unit: ratio}}
  drawdown: {{expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}}
  age: {{expr: tick_age, unit: seconds}}
{kpis}
defaults: {{target: bot}}
rules:
  - {{name: errors, kpi: errors, crit: {{above: 10%, for: 2s, plan: ladder}}}}
  - {{name: drawdown, kpi: drawdown, crit: {{at_least: 10%, plan: halt}}}}
  - {{name: no-ticks, kpi: age, crit: {{above: 30s}}, if_missing: {{after: 10s, then: crit}}}}
{rules}
plans:
  halt:
    kind: halt
    levels:
      - {{name: no-entries, steps: [{{do: flag, file: config.py, set: {{TRADING: false}}}}],
         verify: {{that: [entries == 0], give_up: 5s}}}}
  ladder:
    kind: repair
    mode: auto
    exhausted: halt
    before: [{{do: flag, file: config.py, set: {{TRADING: false}}}}]
    proven: [{{do: flag, file: config.py, set: {{TRADING: true}}}}]
    verify: {{quiet: 3s, give_up: 20s, watch: 5s}}
    levels:
{levels}
{plans}
"""
LEVELS_YAML = """\
      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}
      - {name: version, steps: [{do: git, revert: v2-merge}]}
"""


class ScenarioHarness(PipelineHarness):
    """One bot, whose metrics follow from its files."""

    def __init__(
        self,
        folder: Path,
        *,
        levels: str = LEVELS_YAML,
        rules: str = "",
        kpis: str = "",
        plans: str = "",
        target: str = "",
        now: Millis = START,
        replacement: tuple[str, str] = ("", ""),
        main: str = MAIN_YAML,
    ) -> None:
        """What is said is added to RULES_TEMPLATE; `replacement`: one line of it, and what it becomes."""
        self.repo = GitRepo(folder / "bot")
        self.repo.commit("v1", config__py=CONFIG_PY.replace("MODEL = 2", "MODEL = 1"), notes__md="v1\n")
        self.repo.git("tag", "v1")
        self.repo.git("checkout", "-q", "-b", "v2")
        self.repo.commit("v2", config__py=CONFIG_PY, model__py="WEIGHTS = 2\n")
        self.repo.git("checkout", "-q", "main")
        self.repo.git("merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
        self.repo.git("tag", "v2-merge")
        self.bad_since_model = 2
        """The model from which on the bot makes errors."""
        text = RULES_TEMPLATE.format(
            repo=self.repo.path, levels=levels, rules=rules, kpis=kpis, plans=plans, target=target
        )
        assert replacement[0] in text
        super().__init__(folder, text.replace(*replacement) if replacement[0] else text, main, now=now)
        self.loop = asyncio.new_event_loop()
        self.on_each_second: Callable[[], None] = lambda: None
        """What other people do, each second."""
        self.max_concurrent_runs = 0
        self.loop.run_until_complete(self._start())

    def open(self) -> None:
        super().open()
        self.rollback = RollbackRunner(self._make_context())
        self.deploy_watch = DeployWatch(self.journal)

    async def _start(self) -> None:
        for target in self.config.targets:
            self.rollback.start_target(target)

    async def _stop(self) -> None:
        stopping = asyncio.ensure_future(self.rollback.stop())
        while not stopping.done():
            self.rollback.wake()
            await asyncio.sleep(0)

    def close(self) -> None:
        self.loop.run_until_complete(self._stop())
        self.loop.close()
        self.journal.close()

    def restart(self, downtime: Millis = SECOND) -> None:
        """The rollback stops at its next boundary, and all of it is begun anew."""
        self.loop.run_until_complete(self._stop())
        super().restart(downtime)
        self.loop.run_until_complete(self._start())

    # the bot

    def config_values(self) -> dict[str, str]:
        lines = [line.split("#")[0].split("=") for line in self.repo.read("config.py").splitlines() if "=" in line]
        return {name.strip(): value.strip() for name, value in lines}

    def bot_values(self) -> dict[str, float]:
        """What follows from its files: the new model errs, with its feature and without."""
        config = self.config_values()
        errors = 0.5 if int(config["MODEL"]) >= self.bad_since_model else 0.01
        return {"error_ratio": errors, "entries": float(config["TRADING"] == "True")}

    # time

    def advance_second(self, **values: float) -> None:
        self.on_each_second()
        self.round(**{**self.bot_values(), **values})
        if (self.now - START) % 5_000 == 0:
            for name, target in self.config.targets.items():
                at_work = any(run.status != "watching" for run in self.journal.runs.list_unfinished(name))
                self.deploy_watch.record(
                    name,
                    inspect_target(target, self.deploy_watch.last_commit(name, self.now), DirectExecutor()),
                    at_work or name in self.ended_targets,
                    self.now,
                )
                self.ended_targets.discard(name)
        self.requests.end_suppressions(self.now)
        self.rollback.wake()
        self.loop.run_until_complete(self._run_tasks())
        self.max_concurrent_runs = max(self.max_concurrent_runs, sum(run.status == "running" for run in self.runs))

    async def _run_tasks(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)
            for task in self.rollback.tasks:
                if task.done():
                    task.result()
            self.max_concurrent_runs = max(self.max_concurrent_runs, sum(run.status == "running" for run in self.runs))

    def advance_seconds(self, number: int, **values: float) -> None:
        for _ in range(number):
            self.advance_second(**values)

    def advance_until(self, condition: Callable[[], object], seconds: int = 120, **values: float) -> None:
        for _ in range(seconds):
            if condition():
                return
            self.advance_second(**values)
        raise AssertionError(f"not within {seconds} s: {self.message_titles()}")

    # what came of it

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(run.plan, run.outcome) for run in self.runs]

    def rollback_commits(self) -> list[str]:
        """Subjects of our own commits, newest first."""
        return self.repo.git("log", "--format=%s", "--author=Trading Watchdog").splitlines()

    def is_latched(self) -> bool:
        return self.journal.targets.get_state("bot", self.now).latched is not None

    def list_incidents(self) -> list[incidents.Incident]:
        return self.journal.incidents.list_incidents()

    def steps(self, run: PlanRun) -> list[tuple[str, int, str, str]]:
        return [(step.phase, step.level, step.say, step.status) for step in self.journal.runs.list_steps(run.id)]

    def _make_context(self) -> RollbackContext:
        self.ended_targets: set[str] = set()

        async def offload(key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

        return self.make_context(offload, run_ended=self.ended_targets.add, backup_folder=self.folder / "backups")
