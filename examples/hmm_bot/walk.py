"""Walks the bars without bot, clock or HTTP, and says what a watchdog would measure.

    python walk.py [v1] [v2-on] [v2-off] [--first BAR] [--bars N] [--window N] [--json]

`v2-on` and `v2-off` are v2/ with FEATURE_HMM_V2 true and false. Prints the share of bars whose regime differs
from the bar before and the mean confidence: over the whole walk, and the lowest and highest of all windows.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import argparse
import importlib.util
import json
import logging
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent
VERSIONS = ("v1", "v2-on", "v2-off")


def load(version: str) -> tuple[ModuleType, ModuleType]:
    """config.py and model.py of a version, as the bot would import them."""
    folder = FOLDER if version == "v1" else FOLDER / "v2"
    config = _load_module("config", folder)
    if version != "v1":
        config.FEATURE_HMM_V2 = version == "v2-on"  # type: ignore[attr-defined]
    sys.modules["config"] = config
    try:
        return config, _load_module("model", folder)
    finally:
        del sys.modules["config"]


def _load_module(name: str, folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def walk(version: str, first: int | None = None, bars: int | None = None) -> dict[str, NDArray[np.float64]]:
    """Per bar `changed` (0 or 1) and `confidence`, per fit `fit` (CPU seconds). Wraps as the bot does."""
    config, model = load(version)
    closes = np.loadtxt(FOLDER / "sp500.csv", delimiter=",", usecols=1)
    regimes = model.Regimes(closes)
    span = len(closes) - config.START
    begin = config.START if first is None else first
    told, confidence, fits = [], [], []
    for step in range(span if bars is None else bars):
        bar = config.START + (begin - config.START + step) % span
        if step == 0 or (bar - config.START) % config.REFIT_EVERY == 0:
            started = time.process_time()
            regimes.fit(bar)
            fits.append(time.process_time() - started)
        regime, sure = regimes.predict(bar)
        told.append(regime)
        confidence.append(sure)
    changed = np.diff(told, prepend=told[0]) != 0
    return {"changed": changed.astype(float), "confidence": np.array(confidence), "fit": np.array(fits)}


def measure(version: str, first: int | None, bars: int | None, window: int) -> dict[str, float | str]:
    series = walk(version, first, bars)
    answer: dict[str, float | str] = {"version": version}
    for name in ("changed", "confidence"):
        means = sliding_window_view(series[name], min(window, len(series[name]))).mean(axis=1)
        answer |= {name: series[name].mean(), f"{name}_min": means.min(), f"{name}_max": means.max()}
    return answer | {"fit_first": series["fit"][0], "fit": float(np.median(series["fit"]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", help="v1, v2-on, v2-off; all of them when none is named")
    parser.add_argument("--first", type=int, help="first bar; the bot's own when not given")
    parser.add_argument("--bars", type=int, help="how many; once through all when not given")
    parser.add_argument("--window", type=int, default=500, help="bars; 10 s at the bot's pace")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    if unknown := set(arguments.versions) - set(VERSIONS):
        parser.error(f"no such version: {', '.join(sorted(unknown))}")
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    for version in arguments.versions or VERSIONS:
        m = measure(version, arguments.first, arguments.bars, arguments.window)
        if arguments.json:
            print(json.dumps(m), flush=True)
        else:
            print(
                f"{version:6}  changes {m['changed']:.1%} ({m['changed_min']:.1%} to {m['changed_max']:.1%})"
                f"  confidence {m['confidence']:.1%} ({m['confidence_min']:.1%} to {m['confidence_max']:.1%})"
                f"  fit {m['fit']:.3f} s, first {m['fit_first']:.3f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
