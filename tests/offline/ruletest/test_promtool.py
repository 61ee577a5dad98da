"""Files in promtool's own format: they pass here, and get the same verdict there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from watchdog.offline.ruletest.runner import CaseResult, run_tests
from watchdog.offline.ruletest.test_definition import load_test_file

FOLDER = Path(__file__).parent / "promtool"
FILES = sorted(
    path for path in FOLDER.glob("*.yml") if not path.name.endswith(".rules.yml") and path.name != "alerts.yml"
)
FAILING_FILE = FOLDER / "wrong.yml"
PASSING_FILES = [path for path in FILES if path != FAILING_FILE]


def run_cases(path: Path) -> list[CaseResult]:
    file, problems = load_test_file(path, {})
    assert problems == []
    assert file is not None
    return list(run_tests(file))


def test_there_are_files_to_run() -> None:
    assert len(PASSING_FILES) >= 6


@pytest.mark.parametrize("path", PASSING_FILES, ids=lambda path: path.stem)
def test_what_promtool_accepts_passes(path: Path) -> None:
    found = run_cases(path)

    assert found
    assert [case for case in found if not case.passed] == []


def test_every_wrong_expectation_fails() -> None:
    found = run_cases(FAILING_FILE)

    assert len(found) == 5
    assert [case for case in found if case.passed] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_promtool_says_the_same(path: Path) -> None:
    theirs = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=60)

    assert (theirs.returncode == 0) == all(case.passed for case in run_cases(path)), theirs.stdout + theirs.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
@pytest.mark.parametrize(
    ("number", "name"), list(enumerate(["a value", "a label", "a series", "an alert", "an annotation"]))
)
def test_promtool_finds_each_mistake_too(number: int, name: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    head, *tests = FAILING_FILE.read_text().split("  - name: ")
    assert tests[number].startswith(name)
    (tmp_path / "one.yml").write_text(head + "  - name: " + tests[number])

    theirs = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "one.yml")], capture_output=True, text=True, timeout=60
    )

    assert theirs.returncode != 0
    assert not all(case.passed for case in run_cases(tmp_path / "one.yml"))
