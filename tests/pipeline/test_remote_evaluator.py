"""The pipeline over an engine elsewhere: it knows what was fetched ahead of the round, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, RULES_YAML, START
from watchdog.config import load
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal import open_journal
from watchdog.pipeline import prefetcher
from watchdog.pipeline.pipeline import Pipeline
from watchdog.promql import Evaluator, Expr, InstantResult, InstantVector, PromqlError

SECOND: Millis = 1_000


class RemoteRound:
    """Answers from what was fetched."""

    def __init__(self, fetched: dict[str, InstantResult], now: Millis) -> None:
        self._fetched, self._now = fetched, now

    def evaluate(self, expr: Expr, samples_after: Millis | None = None) -> InstantResult:
        return self._fetched.get(expr.text, InstantResult.no_data(self._now))

    def query(self, expr: Expr) -> dict[Labels, float]:
        return dict(self.evaluate(expr).values)


class RemoteEvaluator:
    """An engine whose answers take a while."""

    prefetches = True

    def __init__(self) -> None:
        self.answers: dict[str, dict[Labels, float]] = {}
        self.asked: list[str] = []
        self._fetched: dict[str, InstantResult] = {}

    def at(self, now: Millis) -> RemoteRound:
        return RemoteRound(self._fetched, now)

    async def prefetch(self, expressions: Collection[Expr], now: Millis) -> None:
        await asyncio.sleep(0)
        self.asked = [expr.text for expr in expressions]
        self._fetched |= {
            text: InstantResult(InstantVector.of(self.answers[text]), now, 0, 0, now)
            for text in self.asked
            if text in self.answers
        }


class RemoteHarness:
    def __init__(self, folder: Path) -> None:
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(MAIN_YAML)
        (folder / "rules" / "rules.yaml").write_text(RULES_YAML)
        self.journal = open_journal(folder)
        self.remote = RemoteEvaluator()
        evaluator: Evaluator = self.remote
        self.now = START
        self.pipeline = Pipeline(load(folder, environ={}), self.journal, Telemetry("0"), self.now, evaluator=evaluator)

    def rounds(self, count: int, *, prefetch: bool = True) -> None:
        for _ in range(count):
            self.now += SECOND
            if prefetch:
                asyncio.run(self.pipeline.prefetch(self.now))
            self.pipeline.judge(self.now)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[RemoteHarness]:
    harness = RemoteHarness(tmp_path)
    yield harness
    harness.journal.close()


def outcomes(pipeline: Pipeline, rule: str) -> set[str]:
    return {machine.outcome for key, machine in pipeline.machines.items() if key.rule == rule}


def test_what_was_fetched_trips_a_rule(harness: RemoteHarness) -> None:
    harness.remote.answers = {"error_ratio": {(): 0.01}, "market_open == 1": {(): 1.0}}
    harness.rounds(3)
    assert outcomes(harness.pipeline, "errors") == {"ok"}

    harness.remote.answers["error_ratio"] = {(): 0.9}
    harness.rounds(60)

    found = harness.journal.incidents.find_open("bot")
    assert found is not None
    assert "errors" in {trip.rule for trip in harness.journal.incidents.list_trips(found.id)}


def test_what_was_not_fetched_is_no_data(harness: RemoteHarness) -> None:
    harness.remote.answers = {"error_ratio": {(): 0.9}}

    harness.rounds(3, prefetch=False)

    assert outcomes(harness.pipeline, "errors") == {"nodata"}
    assert harness.pipeline.condition_holds("error_ratio > 0", harness.now) is None


def test_what_was_fetched_a_while_ago_is_no_data_any_more(harness: RemoteHarness) -> None:
    harness.remote.answers = {"error_ratio": {(): 0.01}}
    harness.rounds(1)

    harness.rounds(600, prefetch=False)

    assert outcomes(harness.pipeline, "errors") == {"nodata"}


def test_a_source_s_samples_fetch_what_they_touch_and_a_tick_fetches_all(harness: RemoteHarness) -> None:
    harness.pipeline.add_samples("bot", [Sample("error_ratio", (), harness.now, 0.1)], harness.now)

    asyncio.run(harness.pipeline.prefetch(harness.now, "bot"))
    touched = set(harness.remote.asked)
    asyncio.run(harness.pipeline.prefetch(harness.now))

    assert "error_ratio" in touched
    assert "market_open == 1" not in touched
    assert touched < set(harness.remote.asked)


def test_an_engine_that_breaks_at_one_expression_is_an_error_of_that_one(
    harness: RemoteHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RemoteRound, expr: Expr, samples_after: Millis | None = None) -> InstantResult:
        if expr.text == "error_ratio":
            raise PromqlError("the engine at http://other refuses it")
        return InstantResult.no_data(self._now)

    monkeypatch.setattr(RemoteRound, "evaluate", broken)
    harness.rounds(1)

    assert outcomes(harness.pipeline, "errors") == {"error"}


def test_an_instant_vector_of_values_knows_its_least_and_greatest() -> None:
    vector = InstantVector.of({(("x", "1"),): 3.0, (("x", "2"),): -1.0})

    assert (vector.min_value, vector.max_value, dict(vector)) == (-1.0, 3.0, {(("x", "1"),): 3.0, (("x", "2"),): -1.0})
    assert InstantVector.of({(): float("nan"), (("x", "1"),): 1.0}).max_value != 1.0
    assert not InstantVector.of({})


def test_a_fetch_that_hangs_or_breaks_holds_up_no_round_and_piles_up_nothing(
    harness: RemoteHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prefetcher, "_MAX_WAIT", 0.01)
    begun: list[Millis] = []

    async def test() -> None:
        released = asyncio.Event()

        async def hangs(expressions: Collection[Expr], now: Millis) -> None:
            begun.append(now)
            await released.wait()
            raise ValueError("no answer")

        monkeypatch.setattr(harness.remote, "prefetch", hangs)
        async with asyncio.timeout(90):
            for n in range(5):
                await harness.pipeline.prefetch(START + n)
            assert begun == [START]
            await harness.pipeline.prefetch(START, "bot")
            assert begun == [START, START]
            released.set()
            while begun[-1] != START + 5:
                await asyncio.sleep(0)
                await harness.pipeline.prefetch(START + 5)

    asyncio.run(test())
    assert caplog.messages == ["what rounds ask could not be fetched"]
