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

from tests.actions.helpers import Repo
from tests.rollback.rig import flag, once
from watchdog.actions.process import Process
from watchdog.model import ActionError, ProcessPlace, Target

CONFIG = "TRADING = True  # new positions\nFEATURE = True\nMODEL = 2\n"
V1 = "TRADING = True  # new positions\nFEATURE = True\nMODEL = 1\n"
UNIT = "crash-bot.service"

API = """\
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

SYSTEMCTL = """\
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


class World(NamedTuple):
    """One folder of one try."""

    folder: Path
    api: str
    """Address of a bot's API that keeps count; empty where no story needs it."""

    @property
    def bot(self) -> Path:
        return self.folder / "bot"

    def target(self) -> Target:
        command = ("sh", "-c", f"echo start >> effects; exec sleep 4242{self.folder.name}")
        place = ProcessPlace(pid_file="bot.pid", command=command)
        return Target(repo=str(self.bot), unit=UNIT, process=place)


class Story(NamedTuple):
    name: str
    step: Callable[[World], dict[str, Any]]
    well: Callable[[World], bool]
    """Whether the bot is well again."""
    effects: Callable[[World], list[str]]
    """What has happened to the world, once for each time."""
    once: list[str]
    make: Callable[[World], None] = lambda _: None
    """What lies in the bot's folder beside its configuration; made once, then copied."""
    begin: Callable[[World], None] = lambda _: None
    """What must be there for each try anew."""
    sure: bool = True
    """Whether before and after can be read."""
    kind: str = "repair"
    before: tuple[dict[str, Any], ...] = ()


# ─ what people have lying about, and must find again ─

HUMANS = {"notes.txt": "sell on monday\n", "human.md": "half a thought\n", "staged.txt": "to be committed\n"}


def make(world: World, story: Story) -> None:
    world.bot.mkdir(parents=True)
    (world.bot / "config.py").write_text(CONFIG)
    (world.bot / "other.yaml").write_text("size: 5  # per trade\n")
    story.make(world)
    for name, text in HUMANS.items():
        (world.bot / name).write_text(text)
    if (world.bot / ".git").exists():
        Repo(world.bot).git("add", "staged.txt")


def end(world: World) -> None:
    """No bot is left behind."""
    for process in _bots(world):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


def lost(world: World) -> list[str]:
    """What people had and have no more."""
    gone = [name for name, text in HUMANS.items() if _text(world.bot / name) != text]
    if (world.bot / ".git").exists():
        repo = Repo(world.bot)
        if repo.git("diff", "--cached", "--name-only").split() != ["staged.txt"]:
            gone.append("what was staged")
        if repo.git("fsck", "--connectivity-only", "--no-dangling").strip():
            gone.append("the repository's health")
    gone += [f"left behind: {path.name}" for path in world.bot.rglob(".*trading-watchdog*")]
    return gone


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _configured(text: str) -> Callable[[World], bool]:
    return lambda world: text in (world.bot / "config.py").read_text()


def _replaced(world: World) -> list[str]:
    """Files that were replaced, once for each time, as the driver counted them."""
    log = world.folder / "replaced"
    return sorted(log.read_text().split()) if log.exists() else []


def _lines(world: World) -> list[str]:
    return (_text(world.bot / "effects") or "").split()


# ─ git ─


def _repository(world: World) -> None:
    repo = Repo(world.bot)
    repo.commit("v1", config__py=V1, other__yaml="size: 5  # per trade\n", old__py="old\n", human__md="a thought\n")
    repo.git("tag", "v1")
    repo.git("checkout", "-q", "-b", "v2")
    repo.commit("v2", config__py=CONFIG, old__py=None, x___a__py="a\n", x___b__py="b\n")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
    repo.git("tag", "v2-merge")


def _commits(world: World) -> list[str]:
    """Commits of ours, and where the files are not those of HEAD."""
    repo = Repo(world.bot)
    status = [
        line[3:]
        for line in repo.status().splitlines()
        if line[3:] not in (*HUMANS, "effects", "config.py", "other.yaml")
    ]
    return [*repo.git("log", "--format=%s", "v2-merge..HEAD").splitlines(), *sorted(status)]


# ─ process ─


def _bots(world: World) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"4242{world.folder.name}" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _run_bot(world: World) -> None:
    started = Process(do="process", start="process", alive_for=20, grace=2_000).at(world.target())
    started.apply(started.before(), "begin")
    (world.folder / "first.pid").write_text((world.bot / "bot.pid").read_text())


def _restarted(world: World) -> bool:
    try:
        now = Process(do="process", restart="process").at(world.target()).before()
    except ActionError:
        return False
    return now["pid"] is not None and now["pid"] != int((world.folder / "first.pid").read_text())


# ─ systemd ─


def _unit(world: World) -> None:
    (world.folder / "bin").mkdir()
    (world.folder / "bin" / "systemctl").write_text(SYSTEMCTL.format(there=world.bot))
    (world.folder / "bin" / "systemctl").chmod(0o755)
    (world.bot / "invocation").write_text("1\n")
    os.environ["PATH"] = f"{world.folder / 'bin'}:{os.environ['PATH']}"


# ─ archive, restore ─


def _state(world: World) -> None:
    for name in ("state/orders.json", "state/deep/trades.csv"):
        (world.bot / name).parent.mkdir(parents=True, exist_ok=True)
        (world.bot / name).write_text(f"{name}\n" * 50)


def _archived(world: World) -> list[str]:
    found = ["state is there"] * (world.bot / "state").exists()
    for archive in (world.bot / "attic").glob("[!.]*.tar.gz"):
        with tarfile.open(archive) as tar:
            found += [f"archived {name}" for name in sorted(tar.getnames()) if "." in name]
    return found


def _backup(world: World) -> None:
    (world.bot / "state.json").write_text('{"orders": [1, 2')  # cut off
    (world.bot / "state.json.backup").write_text(json.dumps({"orders": [1]}))


def _restored(world: World) -> list[str]:
    now = {path.name: path.read_text() for path in world.bot.glob("state.json*")}
    kept = [
        "kept"
        for name, text in now.items()
        if name not in ("state.json", "state.json.backup") and text == '{"orders": [1, 2'
    ]
    return ["restored"] * (now.get("state.json") == '{"orders": [1]}') + kept


def _api_says(world: World) -> str:
    with urllib.request.urlopen(f"{world.api}/{world.folder.name}/state", timeout=5) as page:
        return str(json.load(page)["status"])


_OFF = (flag(TRADING=False),)


def _git(name: str, commit: str, **step: Any) -> Story:
    return Story(
        name,
        lambda _: {"do": "git", **step},
        _configured("MODEL = 1"),
        _commits,
        [commit],
        make=_repository,
        before=_OFF,
    )


_CHECK = {"expect": {"answer": {"status": "stopped"}}}

STORIES = [
    Story(
        "flag",
        lambda _: flag(MODEL=1, FEATURE=False),
        _configured("MODEL = 1"),
        _replaced,
        ["config.py", "config.py", "other.yaml"],
        before=_OFF,
    ),
    Story("halt", lambda _: flag(TRADING=False), _configured("TRADING = False"), _replaced, ["config.py"], kind="halt"),
    _git("git revert", 'Revert "Merge v2"', revert="v2-merge"),
    _git("git to", "Bring back v1", to="v1"),
    _git("git files", "Bring back config.py from v1", files=["config.py"], **{"from": "v1"}),
    Story(
        "process",
        lambda _: {"do": "process", "restart": "process", "alive_for": "20ms", "grace": "2s"},
        _restarted,
        lambda world: [*_lines(world), f"{len(_bots(world))} runs"],
        ["start", "start", "1 runs"],
        begin=_run_bot,
    ),
    Story(
        "systemd",
        lambda _: {"do": "systemd", "restart": "unit"},
        lambda world: (world.bot / "invocation").read_text().strip() != "1",
        _lines,
        ["restart"],
        begin=_unit,
    ),
    Story(
        "http",
        lambda world: {
            "do": "http",
            "url": f"{world.api}/{world.folder.name}/stop",
            "check": {"url": f"{world.api}/{world.folder.name}/state", **_CHECK},
        },
        lambda world: _api_says(world) == "stopped",
        _lines,
        ["stopped"],
    ),
    Story(
        "http, no check",
        lambda world: {"do": "http", "url": f"{world.api}/{world.folder.name}/stop"},
        lambda world: _api_says(world) == "stopped",
        _lines,
        ["stopped"],
        sure=False,
    ),
    Story("command", lambda _: once("done"), lambda world: bool(_lines(world)), _lines, ["done"]),
    Story(
        "command, no check",
        lambda _: {"do": "command", "run": ["sh", "-c", "echo done >> effects"]},
        lambda world: bool(_lines(world)),
        _lines,
        ["done"],
        sure=False,
    ),
    Story(
        "archive",
        lambda _: {"do": "archive", "paths": ["state"], "into": "attic"},
        lambda world: not (world.bot / "state").exists(),
        _archived,
        ["archived state/deep/trades.csv", "archived state/orders.json"],
        make=_state,
    ),
    Story(
        "restore",
        lambda _: {"do": "restore", "file": "state.json", "from": "state.json.backup"},
        lambda world: "restored" in _restored(world),
        _restored,
        ["restored", "kept"],
        make=_backup,
    ),
]


def serve(root: Path) -> tuple[subprocess.Popen[str], str]:
    """The API of every bot below `root`, in a process of its own: it outlives whoever asked."""
    server = subprocess.Popen([sys.executable, "-IS", "-c", API, str(root)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, f"http://127.0.0.1:{server.stdout.readline().strip()}"
