"""`python -m benchmarks.shipped_rules`: do the rules that ship repair what is bad before a halt latches it, at any pace?

The example bot is walked through twenty years of the market from several starts: its good version for years, in which
every plan that starts is a false one, and its bad version after some of them. `trading-watchdog replay` judges what a scrape
once a second would have read, by the files in `rules/`; only the pace in `targets.yaml` is edited.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.bot_lives import RESTART_MS, Pages, Walk, scrape, walk_all
from watchdog import config
from watchdog.core.model import Millis
from watchdog.offline.replay.engine import replay
from watchdog.offline.replay.outcome import PlanStart

RULES = Path(__file__).parents[1] / "rules"
PACES = (1, 5, 50)
"""Bars a second."""
FIRST_BAR, LAST_BAR = 1_010, 5_030
"""Of the example's market: there it begins, and there it begins anew."""
YEAR = 252
"""Bars: a bar is a trading day."""
DEPLOYMENT_SEEN_MS: Millis = 5_000
"""ms after which the daemon has noticed at the latest that somebody deployed; from then on it lets that settle."""
_START: Millis = 1_700_000_000_000


class Effort(NamedTuple):
    """How much is walked."""

    starts: int
    """Places in the data, evenly apart."""
    seeds: int
    """Bad versions for each of them: of the random starts of its fits."""
    healthy_bars: int
    """Of the good version, from each start."""
    bars_before: int
    """After so many of these the bad version is deployed."""
    bad_bars: int
    """Of each bad version."""


FULL = Effort(starts=12, seeds=2, healthy_bars=LAST_BAR - FIRST_BAR + 1, bars_before=500, bad_bars=600)


class Deployment(NamedTuple):
    """A bad version, deployed."""

    start: int
    """Bar at which the bot began, `bars_before` ahead of it."""
    seed: int
    before: Pages
    after: Pages


class FirstPlan(NamedTuple):
    """What a deployment comes to."""

    plan: str
    kind: str
    rule: str
    bars: int
    """Bars of the bad version until it started; 0 and less: it had started before."""


class PaceResult(NamedTuple):
    """What the rules do at one pace."""

    first_plans: list[FirstPlan | None]
    """By deployment; None: no plan started."""
    false_plans: list[PlanStart]
    """Plans that healthy bots started."""
    years: float
    """Of healthy bots."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.shipped_rules", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--starts", type=int, default=FULL.starts, help="places in the data")
    parser.add_argument("--seeds", type=int, default=FULL.seeds, help="bad versions for each of them")
    parser.add_argument("--bars", type=int, default=FULL.healthy_bars, help="healthy bars from each start")
    options = parser.parse_args(argv)
    effort = FULL._replace(starts=options.starts, seeds=options.seeds, healthy_bars=options.bars)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    say(f"{effort.starts} bots walk {effort.healthy_bars} bars each")
    healthy, deployments = walk_bots(effort)
    results = {}
    for pace in PACES:
        say(f"{pace} bars a second")
        results[pace] = judge(healthy, deployments, pace)
    print(format_tables(deployments, results))
    return 0


def walk_bots(effort: Effort) -> tuple[list[Pages], list[Deployment]]:
    """Healthy bots, and what their bad versions did later on."""
    apart = (LAST_BAR - FIRST_BAR + 1) // effort.starts
    starts = [FIRST_BAR + apart * n for n in range(effort.starts)]
    healthy = list(walk_all(Walk("v1", {"bar": start}, effort.healthy_bars, effort.bars_before) for start in starts))
    planned = [(n, seed) for n in range(effort.starts) for seed in range(1, effort.seeds + 1)]
    walks = [Walk("v2", healthy[n].state, effort.bad_bars, seed=seed) for n, seed in planned]
    deployments = [
        Deployment(starts[n], seed, healthy[n].first(effort.bars_before), after)
        for (n, seed), after in zip(planned, walk_all(walks), strict=True)
    ]
    return healthy, deployments


def judge(healthy: Sequence[Pages], deployments: Sequence[Deployment], pace: int) -> PaceResult:
    """All of them, judged by the shipped rules at one pace."""
    bar = 1_000 // pace
    with TemporaryDirectory(prefix="benchmarks-") as name:
        rules = load_rules(Path(name), bar)
        false_plans = [
            one
            for n, pages in enumerate(healthy)
            for one in replay(rules, scrape([pages], bar, _START, phase=_phase(n)).pages).plans
            if one.refused is None
        ]
        first_plans = [_find_first_plan(rules, one, bar, _phase(n)) for n, one in enumerate(deployments)]
    return PaceResult(first_plans, false_plans, sum(pages.values.shape[1] for pages in healthy) / YEAR)


def _phase(n: int) -> Millis:
    """Bots and scrapes go by clocks of their own: each lies elsewhere between two seconds."""
    return 137 * n % 1_000


def _find_first_plan(rules: config.Config, deployment: Deployment, bar: Millis, phase: Millis) -> FirstPlan | None:
    history = scrape([deployment.before, deployment.after], bar, _START, phase=phase)
    began = history.began[1]
    report = replay(rules, history.pages, deployments=[began - RESTART_MS + DEPLOYMENT_SEEN_MS])
    lasting = {trip.rule for trip in report.trips if trip.start < began and (trip.end is None or trip.end >= began)}
    for one in report.plans:
        if one.refused is None and (one.t >= began or one.rule in lasting):
            return FirstPlan(one.plan, one.kind, one.rule, (one.t - began) // bar + 1)
    return None


def load_rules(folder: Path, bar: Millis) -> config.Config:
    """The shipped files, with the pace of the bot as an operator says it."""
    shutil.copytree(RULES, folder / "rules")
    targets = folder / "rules" / "targets.yaml"
    text = targets.read_text()
    assert "bar: 1s" in text
    targets.write_text(text.replace("bar: 1s", f"bar: {bar}ms"))
    loaded, problems = config.check_files([folder / "rules"], environ={})
    assert loaded is not None, problems
    return loaded


def format_tables(deployments: Sequence[Deployment], results: dict[int, PaceResult]) -> str:
    """Two tables in Markdown: each deployment, and each pace."""
    lines = ["| start, seed | " + " | ".join(f"{pace} bars/s" for pace in results) + " |"]
    lines.append("| --- " * (1 + len(results)) + "|")
    for n, one in enumerate(deployments):
        cells = [_format_first(result.first_plans[n]) for result in results.values()]
        lines.append(f"| {one.start}, {one.seed} | {' | '.join(cells)} |")
    lines += [
        "",
        "| bars/s | repaired first | halted first | neither, or halted before | bars to the repair: least, median, most |"
        " years of healthy bots | false repairs a year | false halts a year |",
    ]
    lines.append("| --- " * 8 + "|")
    for pace, result in results.items():
        found = [one for one in result.first_plans if one is not None and one.bars > 0]
        bars = [one.bars for one in found if one.kind == "repair"]
        spread = f"{min(bars)}, {statistics.median(bars):.0f}, {max(bars)}" if bars else "–"
        lines.append(
            f"| {pace} | {len(bars)} | {len(found) - len(bars)} | {len(result.first_plans) - len(found)} | {spread} |"
            f" {result.years:.0f} | {_per_year(result, 'repair')} | {_per_year(result, 'halt')} |"
        )
    return "\n".join(lines)


def _format_first(found: FirstPlan | None) -> str:
    if found is None:
        return "–"
    return f"{found.plan}, {found.bars} ({found.rule})" if found.bars > 0 else f"{found.plan} before it ({found.rule})"


def _per_year(result: PaceResult, kind: str) -> str:
    mine = [one.rule for one in result.false_plans if one.kind == kind]
    rules = ", ".join(f"{mine.count(rule)} {rule}" for rule in dict.fromkeys(mine))
    return f"{len(mine) / result.years:.3f}" + (f" ({rules})" if rules else "")


if __name__ == "__main__":
    sys.exit(main())
