"""The command line beside a bot of another user: root's hands touch nothing of the bot's, and every command does its work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest

from tests.security.conftest import Lab
from tests.security.unprivileged import BOT, OUTSIDE, snapshot
from tests.support.actions import GitRepo, wait_until
from watchdog.core.errors import ActionError
from watchdog.core.executor import DirectExecutor
from watchdog.core.target import Target
from watchdog.offline import snapshot as snapshots
from watchdog.offline.drill import rehearse
from watchdog.plans.models import parse_plan
from watchdog.worker import functions

P = ParamSpec("P")
T = TypeVar("T")

FILES = """\
targets: {{bot: {{repo: {bot}}}}}
kpis: {{cpu: {{expr: vector(20), unit: ratio}}}}
rules:
  - {{name: hot, kpi: cpu, target: bot, crit: {{above: 1000%, for: 2s, plan: fix}}}}
plans:
  fix:
    kind: repair
    mode: auto
    exhausted: leave-running
    verify: {{quiet: 1m}}
    levels:
      - {{name: flag, steps: [{{do: flag, file: conf/config.py, set: {{FEATURE: false}}}}]}}
      - {{name: secret, steps: [{{do: flag, file: .env, set: {{LIVE: false}}}}]}}
      - {{name: version, steps: [{{do: git, to: v1}}]}}
      - name: outside
        steps:
          - {{do: http, url: "http://127.0.0.1:1/stop", token_file: token}}
          - {{do: command, run: ["true"], check: ["true"], inherit: [BOT_KEY]}}
"""


COMMAND = """\
import os, sys

bot = os.environ["BOT_FOLDER"]

def look(event, args):
    for path in args if event == "open" or event.startswith(("os.", "shutil.", "tempfile.")) else ():
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.fsdecode(path)
            if name == os.path.basename(bot) or name == bot or name.startswith(bot + "/"):
                os.write(2, f"TOUCHED: {event} {args}\\n".encode())

sys.addaudithook(look)
from watchdog.__main__ import main
sys.exit(main())
"""
"""The command line, which tells of whatever its own process does below the bot's folder: begun as root, it is to do nothing."""


class BotRepo(GitRepo):
    """The bot's user makes it, and all that is in it."""

    def git(self, *args: str, ok: bool = True) -> str:
        for path in (self.path, *self.path.rglob("*")):
            os.chown(path, BOT, BOT, follow_symlinks=False)
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
        how: dict[str, Any] = {"user": BOT, "group": BOT, "extra_groups": (), "env": {"PATH": os.environ["PATH"]}}
        ran = subprocess.run(["git", *who, *args], cwd=self.path, capture_output=True, text=True, **how)
        assert ran.returncode == 0 or not ok, ran.stderr
        return str(ran.stdout)


class World:
    """A bot whose folder nobody else may enter, and a watchdog of root's."""

    def __init__(self, lab: Lab) -> None:
        self.bot, self.top = lab.bot, lab.bot.parent
        self.config, self.state, self.secret = self.top / "config", self.top / "state", self.top / "secret"
        self.secret.write_bytes(b"LIVE=" + OUTSIDE)
        self.secret.chmod(0o600)
        (self.config / "rules").mkdir(parents=True)
        (self.config / "watchdog.yaml").write_text(f"state: {self.state}\nsources: {{host: {{type: host}}}}\n")
        (self.config / "rules/bot.yaml").write_text(FILES.format(bot=self.bot))
        (self.config / "token").write_text("TOKEN")
        (self.config / "token").chmod(0o600)
        self.repo = repo = BotRepo(self.bot)
        repo.commit("v1", __gitignore=".env\n")
        repo.git("tag", "v1")
        repo.commit("v2", conf___config__py="FEATURE = True\nSIZE = 2\n")
        repo.write_files(__env="LIVE=true\n")
        repo.git("status")  # what was just written is the bot's, too
        self.bot.chmod(0o700)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-c", COMMAND, *args, "--config", str(self.config))
        environ = {**os.environ, "BOT_KEY": "KEY", "BOT_FOLDER": str(self.bot)}
        ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120)
        assert "TOUCHED" not in ran.stderr, ran.stderr
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran

    def run_well(self, *args: str) -> str:
        ran = self.run(*args)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def owners(self, folder: Path) -> set[int]:
        return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}

    def files(self) -> dict[str, tuple[Any, ...]]:
        """Where git itself marks objects that it meets again as used, aside."""
        return {name: seen for name, seen in snapshot(self.bot).items() if "/.git/objects" not in name}


@pytest.fixture
def world(lab: Lab) -> World:
    return World(lab)


def drill_folders() -> set[Path]:
    return {*Path(tempfile.gettempdir()).glob("trading-watchdog-drill-*")}


@pytest.mark.slow
def test_a_dry_run_shows_every_diff_and_touches_nothing(world: World) -> None:
    was = world.files()

    said = world.run_well("rollback", "fix", "--dry-run")

    for line in ("-FEATURE = True", "+FEATURE = False", "+LIVE: false", "-SIZE = 2", "POST http://127.0.0.1:1/stop"):
        assert line in said
    assert world.files() == was
    assert not world.state.exists()


@pytest.mark.slow
def test_a_drill_rehearses_on_copies_of_the_owners_and_reads_the_watchdogs_secrets_itself(world: World) -> None:
    was, left = world.files(), drill_folders()

    rows = json.loads(world.run_well("drill", "fix", "--json"))["bot"]

    assert [[step["how"] for step in row["steps"]] for row in rows] == [
        ["done"],
        ["done"],
        ["done"],
        ["looked at", "looked at"],
    ]
    assert "+FEATURE = False" in rows[0]["steps"][0]["diff"]
    assert world.files() == was
    others = drill_folders() - left  # of tests beside this one
    wait_until(lambda: not others & drill_folders())
    assert 0 not in world.owners(world.state)


@pytest.mark.slow
def test_a_snapshot_is_taken_and_restored_and_every_file_stays_the_bots(world: World) -> None:
    taken = json.loads(world.run_well("snapshot", "--tag", "before", "--save", ".env", "state.json", "--json"))
    assert {Path(name).name for name in taken["files"]} == {".env", "state.json", "config.py"}
    assert taken["notes"] == []
    v2 = (world.bot / "conf/config.py").read_text()
    repo = world.repo
    repo.commit("v3", conf___config__py="FEATURE = True\nSIZE = 3\n")
    repo.write_files(__env="LIVE=other\n", conf___config__py="FEATURE = False  # by hand\nSIZE = 3\n")
    repo.git("status")

    replaced = json.loads(world.run_well("snapshot", "--restore", "before", "--json"))["replaced"]

    assert (world.bot / "conf/config.py").read_text() == v2
    assert (world.bot / ".env").read_text() == "LIVE=true\n"
    assert repo.git("log", "--format=%s", "-1", "HEAD^").strip() == "v3"
    assert world.owners(world.bot) == {BOT}
    assert 0 not in world.owners(world.state)

    world.run_well("snapshot", "--restore", replaced)
    assert (world.bot / "conf/config.py").read_text() == "FEATURE = False  # by hand\nSIZE = 3\n"
    assert (world.bot / ".env").read_text() == "LIVE=other\n"
    assert world.owners(world.bot) == {BOT}


@pytest.mark.slow
def test_a_file_whose_name_is_not_utf8_is_saved_and_restored_like_any_other(world: World) -> None:
    odd = world.bot / os.fsdecode(b"odd\xff.txt")
    odd.write_text("one\n")
    world.repo.commit("odd")
    odd.write_text("two, not committed\n")
    world.run_well("snapshot", "--tag", "before")
    odd.write_text("three\n")
    world.repo.git("status")

    world.run_well("snapshot", "--restore", "before")

    assert odd.read_text() == "two, not committed\n"


@pytest.mark.parametrize(
    "command",
    [
        ("rollback", "fix", "--dry-run", "--level", "secret"),
        ("drill", "fix"),
        ("check",),
        ("snapshot", "--tag", "before", "--save", ".env"),
    ],
)
@pytest.mark.slow
def test_a_link_in_the_bots_folder_has_no_command_read_what_root_alone_may(
    world: World, command: tuple[str, ...]
) -> None:
    (world.bot / ".env").unlink()
    (world.bot / ".env").symlink_to(world.secret)

    ran = world.run(*command)

    assert ran.returncode == 1
    assert OUTSIDE.decode() not in ran.stdout + ran.stderr
    kept = world.state.rglob("*") if world.state.exists() else ()
    assert not [path for path in kept if path.is_file() and OUTSIDE in path.read_bytes()]


@pytest.mark.slow
def test_a_restore_writes_through_no_link_that_the_bot_has_laid_meanwhile(world: World) -> None:
    world.run_well("snapshot", "--tag", "before", "--save", ".env")
    (world.bot / ".env").unlink()
    (world.bot / ".env").symlink_to(world.secret)

    restored = json.loads(world.run_well("snapshot", "--restore", "before", "--json"))

    assert world.secret.read_bytes() == b"LIVE=" + OUTSIDE
    assert not (world.bot / ".env").is_symlink()
    assert (world.bot / ".env").lstat().st_uid == BOT
    world.run_well("snapshot", "--restore", restored["replaced"])
    assert (world.bot / ".env").readlink() == world.secret


@pytest.mark.slow
def test_a_probe_has_a_pid_file_read_by_the_owner_of_its_folder(world: World) -> None:
    source = f"process: {{type: process, pid_file: {world.bot / 'bot.pid'}}}"
    (world.config / "watchdog.yaml").write_text(f"state: {world.state}\nsources: {{{source}}}\n")
    (world.bot / "bot.pid").symlink_to(world.bot / "real.pid")
    (world.bot / "real.pid").write_text("4194304\n")
    world.repo.git("status")

    assert "process: " not in world.run("check", "--probe").stdout  # a pid that nobody has: it is read well
    (world.bot / "real.pid").chmod(0)
    assert "real.pid cannot be read: Permission denied" in world.run("check", "--probe").stdout


@pytest.mark.slow
def test_a_check_has_the_owner_look_for_what_the_plans_name_and_touches_nothing(world: World) -> None:
    was = world.files()
    assert "what plans name" not in world.run_well("check")
    assert world.files() == was

    (world.bot / "conf/config.py").chmod(0)
    assert f"{world.bot}/conf/config.py cannot be read: Permission denied" in world.run_well("check")
    world.repo.git("tag", "-d", "v1")
    ran = world.run("check")

    assert ran.returncode == 1
    assert f"target bot: {world.bot} knows no commit v1" in ran.stdout


@pytest.mark.slow
def test_a_check_by_root_looks_at_nothing_of_which_nobody_says_whose_it_is(world: World) -> None:
    rules = world.config / "rules/bot.yaml"
    file = world.bot / "conf/config.py"
    text = rules.read_text().replace(f"bot: {{repo: {world.bot}}}", "bot: {unit: bot.service}")
    flag = f"- {{name: flag, steps: [{{do: flag, file: {file}, set: {{NONE: 1}}}}]}}\n"
    rules.write_text(text[: text.index("      - {name: flag")] + f"      {flag}")

    assert "was not looked at: nobody says whose it is — give it a repo, or run_as" in world.run_well("check")


class RecordingExecutor(DirectExecutor):
    """Notes whose rights are used for what."""

    def __init__(self, fail_in: str = "") -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._fail_in = fail_in

    def call(self, target: Target, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.asked.append((function.__name__, target.repo))
        if function.__name__ == self._fail_in:
            raise KeyboardInterrupt
        return function(*args, **kwargs)


def test_whose_rights_a_restore_uses_is_not_decided_by_what_the_owner_said_is_its_repository(tmp_path: Path) -> None:
    """A worker that says that its work tree is root's would else have its answers acted on by root."""
    other = GitRepo(tmp_path / "roots")
    commit = other.commit("v1", a="1\n")
    other.commit("v2", a="2\n")
    made = snapshots.Snapshot("before", "bot", 1, str(other.path), commit, ())
    executor, target = RecordingExecutor(), Target(repo=str(tmp_path / "bot"))

    snapshots.restore(tmp_path / "snapshots", made, target, 2, executor)

    assert {repo for _, repo in executor.asked} == {target.repo}


def test_a_drill_that_is_ended_in_the_middle_leaves_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    executor = RecordingExecutor("rehearse_rows")
    verify = {"quiet": "1m"}
    level = {"name": "l", "steps": [{"do": "git", "to": "v1"}]}
    plan = {"kind": "repair", "mode": "auto", "exhausted": "leave-running", "verify": verify, "levels": [level]}

    with pytest.raises(KeyboardInterrupt):
        rehearse.rehearse_plan(parse_plan(json.dumps(plan)), Target(repo=str(tmp_path)), executor)

    assert [name for name, _ in executor.asked] == ["make_folder", "rehearse_rows", "remove_folder"]
    assert drill_folders() == set()


def test_only_a_drills_own_folder_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="no folder of a drill's"):
        rehearse.remove_folder(str(tmp_path))
    assert tmp_path.exists()


def test_a_worker_knows_the_functions_of_its_tables_and_no_other_of_their_modules() -> None:
    for module, names in functions.COMMAND_FUNCTIONS.items():
        for name in names:
            assert functions.find_function(f"{module}.{name}").call.__module__ == module
    for name in (
        "watchdog.offline.drill.rehearse.shutil",
        "watchdog.offline.snapshot_target._modified_files",
        "os.system",
    ):
        with pytest.raises(KeyError):
            functions.read_question({"function": name, "arguments": [], "repo": None})
