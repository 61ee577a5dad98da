"""Files that are large, deep or wrong everywhere: read in little time, with one clear error where they are refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from watchdog.config.load import check_files
from watchdog.documents.document import MAX_PROBLEMS

SECONDS = 20.0
"""Of processor time; what grows with the square takes minutes."""
HEAD = "targets: {b: {}}\nkpis: {k: {expr: m, unit: count}}\nrules:\n"
GROUP = "groups:\n- name: g\n  rules:\n"
N = 8_000

FILES = {
    "well": (HEAD + "".join(f"- {{name: r{i}, target: b, kpi: k, warn: {{above: {i}}}}}\n" for i in range(N)), ""),
    "all wrong": (
        HEAD + "".join(f"- {{name: r{i}, target: x, kpi: z, warn: {{abve: {i}}}}}\n" for i in range(N)),
        "more than 1000 mistakes",
    ),
    "lists": ("a: " + "[" * 1_000_000, "nested deeper than 30"),
    "sets": ("a: " + "{a: " * 300_000, "nested deeper than 30"),
    "dashes": ("a:\n  " + "- " * 500_000 + "1\n", "nested deeper than 30"),
    "long key": ("a" * 1_000_000 + ": 1\n", "at most 10000"),
    "one key": ("a: 1\n" * 200_000, "more than 1000 mistakes"),
    "alerts of one name": (
        GROUP + "".join(f"  - {{alert: A, expr: 'm > {i}', labels: {{severity: warning}}}}\n" for i in range(N)),
        "",
    ),
    "alerts all wrong": (GROUP + "".join(f"  - {{alert: A{i}, expr: 'm >', lbels: {{}}}}\n" for i in range(N)), "mist"),
    "recorded of each other": (
        GROUP
        + "  - {record: r0, expr: m}\n"
        + "".join(f"  - {{record: r{i + 1}, expr: 'r{i} + r{i}'}}\n" for i in range(3_000)),
        "deep",
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.slow
def test_a_file_of_any_shape_is_read_or_refused_in_little_time(name: str, tmp_path: Path) -> None:
    text, said = FILES[name]
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text("sources: {here: {type: host}}\n")
    (tmp_path / "rules" / "r.yaml").write_text(text)
    started = time.process_time()
    config, problems = check_files([tmp_path], environ={})
    assert time.process_time() - started < SECONDS
    assert len(problems) <= MAX_PROBLEMS + 1
    assert (config is None) == bool(said)
    assert any(said in str(problem) for problem in problems) or not said
