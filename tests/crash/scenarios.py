"""What is done to the world, one story an action: a bot's folder, one step, how well shows, and what may happen once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.rollback.harness import command_step, flag_step
from tests.support.actions import GitRepo
from watchdog.actions.process import ProcessAction
from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec, Target

CONFIG_V2 = "TRADING = True  # new positions\nFEATURE = True\nMODEL = 2\n"
CONFIG_V1 = "TRADING = True  # new positions\nFEATURE = True\nMODEL = 1\n"
UNIT = "crash-bot.service"

FAKE_API_PROGRAM = """\
import http.server, json, pathlib, sys
root = pathlib.Path(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        effects = root / self.path.strip("/").split("/")[0] / "bot" / "effects"
        with effects.open("a") as file:
            file.write("stopped\\n")
        self.answer({})
    def do_GET(self):
        effects = root / self.path.strip("/").split("/")[0] / "bot" / "effects"
        self.answer({"status": "stopped" if effects.exists() else "running"})
    def answer(self, said):
        try:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())
        except OSError:
            pass  # whoever asked is dead
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

FAKE_SYSTEMCTL = """\
#!/bin/sh
# One unit in a file; each start is another invocation, as systemd counts them.
for word in "$@"; do case $word in -*) ;; *) verb=${{verb:-$word}} ;; esac; done
invocation=$(cat {there}/invocation)
case $verb in
  show) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\nResult=success\\nInvocationID=%s\\nNRestarts=0\\n' \
    "$invocation" ;;
  restart) echo restart >> {there}/effects; echo $((invocation + 1)) > {there}/next; mv {there}/next {there}/invocation ;;
esac
"""


class Workspace(NamedTuple):
    """One folder of one try."""

    folder: Path
    api_url: str
    """Address of a bot's API that keeps count; empty where no story needs it."""

    @property
    def bot(self) -> Path:
        return self.folder / "bot"

    def target(self) -> Target:
        command = ("sh", "-c", f"echo start >> effects; exec sleep 4242{self.folder.name}")
        place = ProcessSpec(pid_file="bot.pid", command=command)
        return Target(repo=str(self.bot), unit=UNIT, process=place)


class Scenario(NamedTuple):
    name: str
    make_step: Callable[[Workspace], dict[str, Any]]
    is_healthy: Callable[[Workspace], bool]
    """Whether the bot is well again."""
    read_effects: Callable[[Workspace], list[str]]
    """What has happened to the world, once for each time."""
    expected_effects: list[str]
    setup_template: Callable[[Workspace], None] = lambda _: None
    """What lies in the bot's folder beside its configuration; made once, then copied."""
    setup_attempt: Callable[[Workspace], None] = lambda _: None
    """What must be there for each try anew."""
    is_detectable: bool = True
    """Whether before and after can be read."""
    kind: str = "repair"
    before_steps: tuple[dict[str, Any], ...] = ()


# ─ what people have lying about, and must find again ─

USER_FILES = {"notes.txt": "sell on monday\n", "human.md": "half a thought\n", "staged.txt": "to be committed\n"}


def setup_workspace(workspace: Workspace, scenario: Scenario) -> None:
    workspace.bot.mkdir(parents=True)
    (workspace.bot / "config.py").write_text(CONFIG_V2)
    (workspace.bot / "other.yaml").write_text("size: 5  # per trade\n")
    scenario.setup_template(workspace)
    for name, text in USER_FILES.items():
        (workspace.bot / name).write_text(text)
    if (workspace.bot / ".git").exists():
        GitRepo(workspace.bot).git("add", "staged.txt")


def kill_bots(workspace: Workspace) -> None:
    """No bot is left behind."""
    for process in _bot_processes(workspace):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


def find_lost_user_data(workspace: Workspace) -> list[str]:
    """What people had and have no more."""
    gone = [name for name, text in USER_FILES.items() if _read_or_none(workspace.bot / name) != text]
    if (workspace.bot / ".git").exists():
        repo = GitRepo(workspace.bot)
        if repo.git("diff", "--cached", "--name-only").split() != ["staged.txt"]:
            gone.append("what was staged")
        if repo.git("fsck", "--connectivity-only", "--no-dangling").strip():
            gone.append("the repository's health")
    gone += [f"left behind: {path.name}" for path in workspace.bot.rglob(".*trading-watchdog*")]
    return gone


def _read_or_none(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _config_contains(text: str) -> Callable[[Workspace], bool]:
    return lambda world: text in (world.bot / "config.py").read_text()


def _replaced_files(world: Workspace) -> list[str]:
    """Files that were replaced, once for each time, as the driver counted them."""
    log = world.folder / "replaced"
    return sorted(log.read_text().split()) if log.exists() else []


def _effect_lines(world: Workspace) -> list[str]:
    return (_read_or_none(world.bot / "effects") or "").split()


# ─ git ─


def _make_repository(world: Workspace) -> None:
    repo = GitRepo(world.bot)
    repo.commit(
        "v1", config__py=CONFIG_V1, other__yaml="size: 5  # per trade\n", old__py="old\n", human__md="a thought\n"
    )
    repo.git("tag", "v1")
    repo.git("checkout", "-q", "-b", "v2")
    repo.commit("v2", config__py=CONFIG_V2, old__py=None, x___a__py="a\n", x___b__py="b\n")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
    repo.git("tag", "v2-merge")


def _new_commits(world: Workspace) -> list[str]:
    """Commits of ours, and where the files are not those of HEAD."""
    repo = GitRepo(world.bot)
    status = [
        line[3:]
        for line in repo.status().splitlines()
        if line[3:] not in (*USER_FILES, "effects", "config.py", "other.yaml")
    ]
    return [*repo.git("log", "--format=%s", "v2-merge..HEAD").splitlines(), *sorted(status)]


# ─ process ─


def _bot_processes(world: Workspace) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"4242{world.folder.name}" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _start_bot(world: Workspace) -> None:
    started = ProcessAction(do="process", start="process", alive_for=20, grace=2_000).bind(world.target())
    started.apply(started.capture(), "begin")
    (world.folder / "first.pid").write_text((world.bot / "bot.pid").read_text())


def _is_restarted(world: Workspace) -> bool:
    try:
        now = ProcessAction(do="process", restart="process").bind(world.target()).capture()
    except ActionError:
        return False
    return now["pid"] is not None and now["pid"] != int((world.folder / "first.pid").read_text())


# ─ systemd ─


def _make_fake_systemctl(world: Workspace) -> None:
    (world.folder / "bin").mkdir()
    (world.folder / "bin" / "systemctl").write_text(FAKE_SYSTEMCTL.format(there=world.bot))
    (world.folder / "bin" / "systemctl").chmod(0o755)
    (world.bot / "invocation").write_text("1\n")
    os.environ["PATH"] = f"{world.folder / 'bin'}:{os.environ['PATH']}"


# ─ archive, restore ─


def _make_state_folder(world: Workspace) -> None:
    for name in ("state/orders.json", "state/deep/trades.csv"):
        (world.bot / name).parent.mkdir(parents=True, exist_ok=True)
        (world.bot / name).write_text(f"{name}\n" * 50)


def _archived_files(world: Workspace) -> list[str]:
    found = ["state is there"] * (world.bot / "state").exists()
    for archive in (world.bot / "attic").glob("[!.]*.tar.gz"):
        with tarfile.open(archive) as tar:
            found += [f"archived {name}" for name in sorted(tar.getnames()) if "." in name]
    return found


def _make_broken_state(world: Workspace) -> None:
    (world.bot / "state.json").write_text('{"orders": [1, 2')  # cut off
    (world.bot / "state.json.backup").write_text(json.dumps({"orders": [1]}))


def _restored_files(world: Workspace) -> list[str]:
    now = {path.name: path.read_text() for path in world.bot.glob("state.json*")}
    kept = [
        "kept"
        for name, text in now.items()
        if name not in ("state.json", "state.json.backup") and text == '{"orders": [1, 2'
    ]
    return ["restored"] * (now.get("state.json") == '{"orders": [1]}') + kept


def _api_status(world: Workspace) -> str:
    with urllib.request.urlopen(f"{world.api_url}/{world.folder.name}/state", timeout=5) as page:
        return str(json.load(page)["status"])


_TRADING_OFF = (flag_step(TRADING=False),)


def _git_scenario(name: str, commit: str, **step: Any) -> Scenario:
    return Scenario(
        name,
        lambda _: {"do": "git", **step},
        _config_contains("MODEL = 1"),
        _new_commits,
        [commit],
        setup_template=_make_repository,
        before_steps=_TRADING_OFF,
    )


_STOPPED_CHECK = {"expect": {"answer": {"status": "stopped"}}}

SCENARIOS = [
    Scenario(
        "flag",
        lambda _: flag_step(MODEL=1, FEATURE=False),
        _config_contains("MODEL = 1"),
        _replaced_files,
        ["config.py", "config.py", "other.yaml"],
        before_steps=_TRADING_OFF,
    ),
    Scenario(
        "halt",
        lambda _: flag_step(TRADING=False),
        _config_contains("TRADING = False"),
        _replaced_files,
        ["config.py"],
        kind="halt",
    ),
    _git_scenario("git revert", 'Revert "Merge v2"', revert="v2-merge"),
    _git_scenario("git to", "Bring back v1", to="v1"),
    _git_scenario("git files", "Bring back config.py from v1", files=["config.py"], **{"from": "v1"}),
    Scenario(
        "process",
        lambda _: {"do": "process", "restart": "process", "alive_for": "20ms", "grace": "2s"},
        _is_restarted,
        lambda world: [*_effect_lines(world), f"{len(_bot_processes(world))} runs"],
        ["start", "start", "1 runs"],
        setup_attempt=_start_bot,
    ),
    Scenario(
        "systemd",
        lambda _: {"do": "systemd", "restart": "unit"},
        lambda world: (world.bot / "invocation").read_text().strip() != "1",
        _effect_lines,
        ["restart"],
        setup_attempt=_make_fake_systemctl,
    ),
    Scenario(
        "http",
        lambda world: {
            "do": "http",
            "url": f"{world.api_url}/{world.folder.name}/stop",
            "check": {"url": f"{world.api_url}/{world.folder.name}/state", **_STOPPED_CHECK},
        },
        lambda world: _api_status(world) == "stopped",
        _effect_lines,
        ["stopped"],
    ),
    Scenario(
        "http, no check",
        lambda world: {"do": "http", "url": f"{world.api_url}/{world.folder.name}/stop"},
        lambda world: _api_status(world) == "stopped",
        _effect_lines,
        ["stopped"],
        is_detectable=False,
    ),
    Scenario(
        "command", lambda _: command_step("done"), lambda world: bool(_effect_lines(world)), _effect_lines, ["done"]
    ),
    Scenario(
        "command, no check",
        lambda _: {"do": "command", "run": ["sh", "-c", "echo done >> effects"]},
        lambda world: bool(_effect_lines(world)),
        _effect_lines,
        ["done"],
        is_detectable=False,
    ),
    Scenario(
        "archive",
        lambda _: {"do": "archive", "paths": ["state"], "into": "attic"},
        lambda world: not (world.bot / "state").exists(),
        _archived_files,
        ["archived state/deep/trades.csv", "archived state/orders.json"],
        setup_template=_make_state_folder,
    ),
    Scenario(
        "restore",
        lambda _: {"do": "restore", "file": "state.json", "from": "state.json.backup"},
        lambda world: "restored" in _restored_files(world),
        _restored_files,
        ["restored", "kept"],
        setup_template=_make_broken_state,
    ),
]


def start_api_server(root: Path) -> tuple[subprocess.Popen[str], str]:
    """The API of every bot below `root`, in a process of its own: it outlives whoever asked."""
    server = subprocess.Popen(
        [sys.executable, "-IS", "-c", FAKE_API_PROGRAM, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    return server, f"http://127.0.0.1:{server.stdout.readline().strip()}"
