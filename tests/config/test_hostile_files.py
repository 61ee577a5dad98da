"""Files that were made to hurt: one clear answer each, in bounded time and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from watchdog.config import check_files
from watchdog.documents.document import MAX_PROBLEMS
from watchdog.documents.yaml_events import MAX_TEXT
from watchdog.documents.yaml_loader import MAX_BYTES

BIG = MAX_BYTES - 200
RULE = "rules: [{{name: x, kpi: k, target: t, warn: {{above: 1, for: '{}'}}, summary: '{}'}}]\n"
HOSTILE_FILES = {
    "aliases": ("a: [" + "*b," * (BIG // 3) + "]", f"more than {MAX_PROBLEMS} mistakes"),
    "an alias bomb": ("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nkpis: {x: *c}\n", "points to another place"),
    "brackets": ("[" * BIG, "nested deeper"),
    "braces": ("{a: " * (BIG // 4), "nested deeper"),
    "dashes": ("- " * (BIG // 2), "nested deeper"),
    "one key": ("kpis: {? " + "k" * BIG + " : 1}", f"at most {MAX_TEXT}"),
    "the same key": ("kpis: {" + "a: 1, " * (BIG // 6) + "}", f"more than {MAX_PROBLEMS} mistakes"),
    "a duration": (RULE.format("1s" * (BIG // 2), ""), f"at most {MAX_TEXT}"),
    "a placeholder": (RULE.format("", "{{" * (BIG // 2)), f"at most {MAX_TEXT}"),
    "quotes in an expression": ("kpis: {x: {expr: '" + '\\"' * (BIG // 2) + "'}}", f"at most {MAX_TEXT}"),
    "quotes in a shorter expression": ("kpis: {x: {expr: '" + '\\"' * 4_900 + "'}}", "backslashes"),
    "an open quote": ('a: "' + "x" * BIG, "never closed"),
    "tabs": ("\t" * BIG, "tab"),
    "nulls": ("\0" * BIG, "U+0000"),
    "digits": ("targets: {x: {budget: ['" + "1" * 5_000 + " per 1h'], cooldown: " + "1" * 5_000 + "}}", "18 digits"),
    "digits of a count": (RULE.format("1" * 4_900 + " of " + "1" * 4_900, ""), "a duration reads like"),
    "a tag": ("a: !!python/object/apply:os.system [id]", "tag"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_gets_a_clear_answer(name: str, tmp_path: Path) -> None:
    text, fragment = HOSTILE_FILES[name]
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    _, problems = check_files([path], environ={})

    assert [each for each in problems if fragment in str(each)]
    assert len(problems) <= MAX_PROBLEMS + 1
    assert max(len(str(each)) for each in problems) < 600


@pytest.mark.slow
def test_all_of_them_and_a_hundred_megabytes_more_are_read_in_bounded_memory(tmp_path: Path) -> None:
    for number, (text, _) in enumerate(HOSTILE_FILES.values()):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    with (tmp_path / "large.yaml").open("wb") as stream:
        stream.truncate(100 << 20)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4" * 1_000_000)
    # VmHWM, not ru_maxrss: that one begins with the memory of who starts a process.
    measured = (
        "import sys; from watchdog.cli.command_line import main; code = main(sys.argv[1:]);"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr);"
        "sys.exit(code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", measured, "check", tmp_path], capture_output=True, text=True, timeout=300
    )

    assert ran.returncode == 1
    assert int(ran.stderr.split()[-1]) < 400 << 10  # KiB
