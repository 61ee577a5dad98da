"""What a daemon carries about: what its configuration does not use is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FILES = {
    "watchdog.yaml": 'sources: {bot: {type: scrape, url: "http://127.0.0.1:9/metrics"}}\nstate: state\n',
    "rules/bot.yaml": """\
targets: {bot: {}}
kpis: {equity: {expr: equity}}
rules: [{name: equity, kpi: equity, target: bot, crit: {below: 1, for: 5s, plan: stop}}]
plans:
  stop:
    kind: halt
    levels: [{name: stop, steps: [{do: command, run: ["true"]}], verify: {that: [alive == 1], give_up: 30s}}]
""",
}
DAEMON_PROGRAM = """\
import os, sys
from pathlib import Path
from watchdog.cli.command_line import build_parser
options = build_parser(["run"]).parse_args(["run", "--config", sys.argv[1]])
from watchdog.app.daemon import Daemon
daemon = Daemon(options.config, os.environ)
from watchdog.net.fetch import HttpFetcher
from watchdog.host.child_process import run
run(["true"], timeout_ms=30_000)
daemon.close()
print(*sys.modules)
"""
"""Everything up to the first read, a read's and a command's own code included."""


@pytest.fixture(scope="module")
def imported_modules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("lean")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    argv = [sys.executable, "-c", DAEMON_PROGRAM, str(folder)]
    return set(subprocess.run(argv, capture_output=True, text=True, timeout=180, check=True).stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("client", ["slack_sdk", "telegram", "httpx", "requests"])
def test_the_daemon_without_chat_imports_no_chat_client(imported_modules: set[str], client: str) -> None:
    assert client not in imported_modules


@pytest.mark.parametrize(
    "library", ["psutil", "tarfile", "matplotlib", "scipy", "starlette", "uvicorn", "re2", "sqlalchemy", "psycopg"]
)
def test_the_daemon_imports_no_library_that_nothing_in_its_files_needs(
    imported_modules: set[str], library: str
) -> None:
    assert library not in imported_modules


ASK_PROGRAM = """\
import sys
from pydantic import TypeAdapter
from watchdog.actions import AnyAction
from watchdog.core.errors import WatchdogError
from watchdog.core.target import Target
from watchdog.offline.history.page_builder import PageBuilder, QueryRange
from watchdog.offline.history.prometheus_api import fetch_series
from watchdog.plans.models import HttpCheck
from watchdog.rollback.checks import http_check_passes
from watchdog.cli.daemon_api import ask_daemon

url = "http://127.0.0.1:1/"
action = TypeAdapter(AnyAction).validate_python({"do": "http", "url": url}).bind(Target())
check = HttpCheck(url=url)
action.capture()
print("requests" in sys.modules)
try:
    {
        "action": lambda: action.apply({}, "key"),
        "check": lambda: http_check_passes(check),
        "history": lambda: fetch_series(url, {"a"}, QueryRange(0, 0, 1_000), PageBuilder('history')),
    }[sys.argv[1]]()
except WatchdogError as error:
    assert "nobody listens there" in str(error), error
print("requests" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("who", ["action", "check", "history"])
def test_requests_is_imported_when_somebody_asks_and_not_before(who: str) -> None:
    argv = [sys.executable, "-c", ASK_PROGRAM, who]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)

    assert done.stdout.split() == ["False", "True"], done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "offline.replay",
        "offline.report",
        "offline.ruletest",
        "offline.drill",
        "offline.demo",
        "offline.snapshot",
        "offline.history.query",
        "config.schema",
        "prometheus_rules.importer",
        "prometheus_rules.template",
    ],
)
def test_the_daemon_imports_no_module_of_another_command(imported_modules: set[str], module: str) -> None:
    assert (ROOT / "watchdog" / module.replace(".", "/")).with_suffix(".py").exists() or (
        ROOT / "watchdog" / module.replace(".", "/") / "__init__.py"
    ).exists()
    assert f"watchdog.{module}" not in imported_modules
