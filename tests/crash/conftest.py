"""What was survived, action by action and point by point."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.crash.harness import PHASES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """`N points, N survived`, and a matrix: 3 = three points, all survived; 2/3 = one was not."""
    rows: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "crash" and report.when == "call":
                    story, death, tried = value
                    for column, survived in tried:
                        rows[f"{story}, {death}"][column].append(survived)
    if not rows:
        return
    write = terminalreporter.write_line
    write("")
    write(" " * 30 + "".join(f"{column:>9}" for column in PHASES))
    for row, cells in rows.items():
        write(f"{row:<30}" + "".join(f"{_cell(cells.get(column, [])):>9}" for column in PHASES))
    points = [survived for cells in rows.values() for listed in cells.values() for survived in listed]
    write(f"{len(points)} points, {sum(points)} survived")


def _cell(survived: list[bool]) -> str:
    if not survived:
        return "·"
    return str(len(survived)) if all(survived) else f"{sum(survived)}/{len(survived)}"
