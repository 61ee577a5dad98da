"""The example bot: v1 is well, v2 is not with its flag on or off, and the process behaves as a watchdog needs it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

EXAMPLE = Path(__file__).parents[2] / "examples" / "hmm_bot"
BARS = 400  # 8 s at the bot's pace

needs_hmmlearn = pytest.mark.skipif(
    importlib.util.find_spec("hmmlearn") is None, reason="needs the extra `demo` (hmmlearn)"
)


@pytest.fixture(scope="module")
def measurements() -> dict[str, dict[str, float]]:
    command = [sys.executable, "-B", str(EXAMPLE / "walk.py"), "--bars", str(BARS), "--window", "250", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return {row["version"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@needs_hmmlearn
def test_v1_is_well(measurements: dict[str, dict[str, float]]) -> None:
    v1 = measurements["v1"]
    assert v1["changed"] < 0.12
    assert v1["changed_max"] < 0.12
    assert v1["confidence"] > 0.92
    assert v1["confidence_min"] > 0.92


@pytest.mark.slow
@needs_hmmlearn
@pytest.mark.parametrize("version", ["v2-on", "v2-off"])
def test_v2_is_bad_whatever_its_flag_says(measurements: dict[str, dict[str, float]], version: str) -> None:
    v2 = measurements[version]
    assert v2["changed"] > 0.20
    assert v2["changed_min"] > 0.15
    assert v2["confidence"] < 0.80
    assert v2["confidence_max"] < 0.90


@pytest.mark.slow
@needs_hmmlearn
@pytest.mark.parametrize("first", [2291, 2718])
def test_v1_is_well_where_it_is_restarted_in_the_middle(first: int) -> None:
    """Bars at which a first fit from k-means starts ended in an optimum with 20 % changes."""
    walked = _load_module("walk").walk("v1", first=first, bars=250)

    assert walked["changed"].mean() < 0.12
    assert walked["confidence"].mean() > 0.92


@pytest.mark.slow
@needs_hmmlearn
@pytest.mark.parametrize("version", ["v1", "v2-on"])
def test_what_comes_later_does_not_change_what_is_told_now(version: str) -> None:
    _, model = _load_module("walk").load(version)
    closes = np.loadtxt(EXAMPLE / "sp500.csv", delimiter=",", usecols=1)
    later = closes.copy()
    later[1501:] *= 3
    later[1600:] /= 7

    told = []
    for history in (closes, later):
        regimes = model.Regimes(history)
        regimes.fit(1490)
        told.append([regimes.predict(bar) for bar in (1490, 1495, 1500)])

    assert told[0] == told[1]


def test_the_second_version_adds_one_flag_to_the_settings() -> None:
    before = (EXAMPLE / "config.py").read_text()
    after = (EXAMPLE / "v2" / "config.py").read_text()

    assert after.startswith(before)
    assert [line.split("  #")[0] for line in after[len(before) :].split("\n") if line] == ["FEATURE_HMM_V2 = True"]


@pytest.mark.slow
@needs_hmmlearn
def test_a_restarted_bot_goes_on_where_it_stopped(bot_folder: Path) -> None:
    with running_bot(bot_folder, pace=300) as bot:
        seen = bot.wait_until(lambda page: page.get("hmm_bars_total", 0) >= 60)
        assert seen["bot_bar"] >= 1010 + 59
        assert 0 < seen["hmm_confidence_sum_total"] <= seen["hmm_bars_total"]
        assert seen['bot_info{version="v1"}'] == 1
        assert bot.stop() == 0
    saved = json.loads((bot_folder / "state.json").read_text())
    assert saved["bar"] > seen["bot_bar"]

    with running_bot(bot_folder, pace=0.01) as bot:
        again = bot.wait_until(lambda page: "bot_bar" in page)
        assert again["bot_bar"] == saved["bar"]
        assert again["equity"] > 0
        assert again["hmm_bars_total"] == 1
        assert bot.stop() == 0


@pytest.mark.slow
@needs_hmmlearn
def test_version_two_takes_over_the_state_of_version_one(bot_folder: Path) -> None:
    (bot_folder / "state.json").write_text(json.dumps({"bar": 2000, "equity": 12345.0}))
    for name in ("model.py", "config.py"):
        shutil.copy(EXAMPLE / "v2" / name, bot_folder / name)

    with running_bot(bot_folder, pace=0.01) as bot:
        page = bot.wait_until(lambda page: "bot_bar" in page)

        assert page['bot_info{version="v2"}'] == 1
        assert page["bot_bar"] == 2000
        assert page["equity"] == pytest.approx(12345.0, rel=0.01)


def test_entries_stop_and_exits_go_on_once_the_flag_is_off(bot_folder: Path) -> None:
    (bot_folder / "model.py").write_text(FLAPPING_MODEL)
    with running_bot(bot_folder, pace=200) as bot:
        bot.wait_until(lambda page: closed_trades(page) >= 1)
        settings = (bot_folder / "config.py").read_text()
        (bot_folder / "config.py").write_text(settings.replace("GLOBAL_TRADING = True", "GLOBAL_TRADING = False"))
        off = bot.wait_until(lambda page: page["bot_entries_enabled"] == 0)
        later = bot.wait_until(lambda page: page["hmm_bars_total"] >= off["hmm_bars_total"] + 50)

        assert closed_trades(later) - closed_trades(off) <= 1  # the position that was still open
        assert bot.stop() == 0
    assert json.loads((bot_folder / "state.json").read_text())["paid"] is None


def test_an_unreadable_config_keeps_the_flag_as_it_was(bot_folder: Path) -> None:
    (bot_folder / "model.py").write_text(FLAPPING_MODEL)
    with running_bot(bot_folder, pace=200) as bot:
        seen = bot.wait_until(lambda page: page.get("bot_entries_enabled") == 1)
        (bot_folder / "config.py").write_text("GLOBAL_TRADING = (False\n")
        later = bot.wait_until(
            lambda page: page["hmm_bars_total"] >= seen["hmm_bars_total"] + 300
        )  # more than a second

        assert later["bot_entries_enabled"] == 1


def test_a_fit_that_fails_is_counted_and_unknown_gauges_are_absent(bot_folder: Path) -> None:
    failing = FLAPPING_MODEL.replace("fit(self, bar): pass", "fit(self, bar): raise ValueError('nothing to learn')")
    (bot_folder / "model.py").write_text(failing)
    with running_bot(bot_folder, pace=200) as bot:
        page = bot.wait_until(lambda page: page["training_failures_total"] >= 3)

        assert page["training_attempts_total"] >= page["training_failures_total"]
        assert page["hmm_bars_total"] == page["predictions_total"] == 0
        assert not {"hmm_regime", "hmm_confidence", "strategy_return"} & page.keys()
        assert bot.stop() == 0


def test_a_prediction_that_is_no_probability_is_counted_and_not_told(bot_folder: Path) -> None:
    (bot_folder / "model.py").write_text(FLAPPING_MODEL.replace("0.75", "float('nan')"))
    with running_bot(bot_folder, pace=200) as bot:
        page = bot.wait_until(lambda page: page["invalid_predictions_total"] >= 3)

        assert page["hmm_bars_total"] == 0
        assert "hmm_confidence" not in page


FLAPPING_MODEL = """
VERSION = "test"

class Regimes:
    def __init__(self, closes): pass
    def fit(self, bar): pass
    def predict(self, bar): return bar % 2, 0.75
"""


@pytest.fixture
def bot_folder(tmp_path: Path) -> Path:
    for name in ("bot.py", "model.py", "config.py", "sp500.csv"):
        shutil.copy(EXAMPLE / name, tmp_path / name)
    return tmp_path


class RunningBot:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(self.url, timeout=60) as answer:
            text = answer.read().decode()
        page = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                page[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return page

    def wait_until(self, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        deadline = time.monotonic() + 90
        while not condition(page := self.metrics()):
            assert time.monotonic() < deadline, page
            time.sleep(0.02)
        return page

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def running_bot(folder: Path, pace: float) -> Iterator[RunningBot]:
    command = [sys.executable, str(folder / "bot.py"), "--port", "0", "--pace", str(pace)]
    with (
        (folder / "bot.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()  # v1 on http://127.0.0.1:40123/metrics
            assert said, (folder / "bot.log").read_text()
            yield RunningBot(process, said[-1])
        finally:
            process.kill()


def closed_trades(page: dict[str, float]) -> float:
    return page['trades_total{result="win"}'] + page['trades_total{result="loss"}']


def _load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"hmm_bot_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
