"""`test`: unit tests of rules, in promtool's format and ours."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from watchdog.cli.arguments import Commands, add_command
from watchdog.cli.output import print_json, print_line
from watchdog.core.pattern import PatternError, search_pattern
from watchdog.core.telemetry import log
from watchdog.core.text import escape_lines
from watchdog.documents.problems import Problem
from watchdog.offline.ruletest.runner import CaseResult, run_tests
from watchdog.offline.ruletest.test_definition import load_test_file


def register(commands: Commands) -> None:
    command = add_command(commands, "test", run_test_files, "Unit tests of rules: promtool's own test files, and ours.")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="test files; see docs/testing.md")
    command.add_argument("--run", metavar="REGEX", help="only tests whose name it finds something in")
    command.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report for CI systems")


def run_test_files(options: argparse.Namespace) -> int:
    try:
        only = None if options.run is None else search_pattern(options.run)
    except PatternError as error:
        print_line(f"trading-watchdog: --run is no regular expression: {error}", is_error=True)
        return 2
    log.addHandler(logging.NullHandler())  # what the pipeline logs of incidents is no news here
    cases: list[CaseResult] = []
    problems: list[Problem] = []
    for path in options.files:
        file, wrong = load_test_file(path, os.environ)
        problems += [problem for problem in wrong if problem not in problems]
        mine: list[CaseResult] = []
        for case in run_tests(file, only) if file is not None else ():
            mine.append(case)
            if options.json:
                print_json(_case_json(case))
        cases += mine
        if file is not None and not options.json and (mine or only is None):
            _print_cases(path, mine)
    for problem in problems:
        print_line(problem, is_error=True)
    if options.junit is not None:
        _write_junit(options.junit, cases, problems)
    if not cases and not problems:
        print_line("trading-watchdog: no test was run", is_error=True)
        return 2
    failed = sum(not case.passed for case in cases)
    if not options.json:
        wrong_files = f", {len(problems)} error{'s' if len(problems) > 1 else ''} in files" if problems else ""
        print_line(f"{len(cases)} case{'' if len(cases) == 1 else 's'}, {failed} failed{wrong_files}")
    return 1 if failed or problems else 0


def _case_json(case: CaseResult) -> dict[str, Any]:
    return {
        "file": case.file,
        "name": case.name,
        "kind": case.kind,
        "passed": case.passed,
        "got": case.got,
        "expected": case.expected,
    }


def _print_cases(path: Path, cases: Sequence[CaseResult]) -> None:
    failed = [case for case in cases if not case.passed]
    print_line(f"{path}: {f'{len(failed)} of {len(cases)} failed' if failed else f'{len(cases)} passed'}")
    for case in failed:
        print_line(f"  FAILED  {case.name}")
        for line in _format_difference(case):
            print_line(line)


def _format_difference(case: CaseResult) -> list[str]:
    lines = [f"      expected  {line}" for line in _format_value(case.expected)] + [
        f"      got       {line}" for line in _format_value(case.got)
    ]
    return lines + ([f"      because   {case.detail}"] if case.detail else [])


def _format_value(value: Any) -> list[str]:
    if not value:
        return ["nothing"]
    if isinstance(value, dict):
        return [", ".join(f"{key} {text}" for key, text in value.items())]
    lines = []
    for each in value:
        if isinstance(each, str):
            lines.append(each)
        elif "value" in each:
            lines.append(f"{each['labels']} {each['value']}")
        else:
            notes = "".join(f" {name}: {text!r}" for name, text in each["annotations"].items())
            pairs = ", ".join(f'{name}="{text}"' for name, text in each["labels"].items())
            lines.append("{" + pairs + "}" + notes)
    return lines


def _write_junit(path: Path, cases: Sequence[CaseResult], problems: Sequence[Problem]) -> None:
    """One suite a file, one case an expectation; a file that cannot be read is an error of its suite."""
    top = ElementTree.Element("testsuites")
    for file in dict.fromkeys([*(case.file for case in cases), *(problem.file for problem in problems)]):
        mine = [case for case in cases if case.file == file]
        wrong = [problem for problem in problems if problem.file == file]
        suite = ElementTree.SubElement(
            top,
            "testsuite",
            name=file,
            tests=str(len(mine) + len(wrong)),
            errors=str(len(wrong)),
            failures=str(sum(not case.passed for case in mine)),
        )
        for case in mine:
            entry = ElementTree.SubElement(
                suite, "testcase", classname=case.kind, name=_printable(case.name), file=file
            )
            if not case.passed:
                failure = ElementTree.SubElement(entry, "failure", message=_printable(case.subject))
                failure.text = _printable("\n".join(_format_difference(case)))
        for problem in wrong:
            entry = ElementTree.SubElement(suite, "testcase", classname="file", name=f"line {problem.line}", file=file)
            ElementTree.SubElement(entry, "error", message=_printable(str(problem)))
    ElementTree.indent(top)
    ElementTree.ElementTree(top).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """Without what XML cannot hold."""
    return escape_lines(text)
