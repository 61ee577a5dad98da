"""What a rehearsal says of a file that cannot be replaced tonight: with real mounts, attributes, disks and users."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.crash import harness
from watchdog.actions import AnyAction
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.host import write_trial
from watchdog.offline.drill.rehearse import rehearse_plan
from watchdog.plans.models import Plan

FLAG = {"do": "flag", "file": "config.py", "set": {"TRADING": False}}
STEPS: dict[str, dict[str, Any]] = {
    "flag": FLAG,
    "git": {"do": "git", "to": "v1"},
    "restore": {"do": "restore", "file": "config.py", "from": "config.backup"},
    "archive": {"do": "archive", "paths": ["config.py"], "into": "archives"},
}


def make_bot(folder: Path) -> Path:
    bot = folder / "bot"
    bot.mkdir()
    (bot / "config.py").write_text("TRADING = False\n")
    git = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run([*git, "init", "-q", "-b", "main"], cwd=bot, check=True)
    for text, tag in (("TRADING = None\n", "v1"), ("TRADING = True\n", "v2")):
        (bot / "config.py").write_text(text)
        subprocess.run([*git, "add", "config.py"], cwd=bot, check=True)
        subprocess.run([*git, "commit", "-q", "-m", tag], cwd=bot, check=True)
        subprocess.run([*git, "tag", tag], cwd=bot, check=True)
    (bot / "config.backup").write_text("TRADING = None\n")
    return bot


def make_step(name: str, bot: Path) -> Action:
    step: Action = TypeAdapter(AnyAction).validate_python(STEPS[name]).bind(Target(repo=str(bot)))
    return step


def make_git_step(bot: Path, to: str, branch: str | None) -> Action:
    said = {"do": "git", "to": to, **({"branch": branch} if branch else {})}
    step: Action = TypeAdapter(AnyAction).validate_python(said).bind(Target(repo=str(bot)))
    return step


def rehearsed(step: Action) -> str:
    """What a rehearsal has against it; and that the act agrees."""
    captured = step.capture()
    said = ""
    try:
        step.rehearse(captured)
    except ActionError as error:
        said = str(error)
    try:
        step.apply(captured, "k")
    except ActionError:
        assert said, "the act fails, and the rehearsal did not"
    else:
        assert not said, "the act was well, and the rehearsal was not"
    return said


def drilled(bot: Path) -> list[str]:
    text = {"kind": "halt", "levels": [{"name": "off", "steps": [FLAG], "verify": {"run": ["true"]}}]}
    rows = rehearse_plan(TypeAdapter(Plan).validate_python(text), Target(repo=str(bot)))
    return [problem for row in rows for problem in row.problems]


def traces(folder: Path) -> dict[str, tuple[int, int]]:
    """Every name below it, folders too, with the times of its change."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in found if "objects" not in str(path)}


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    return make_bot(tmp_path)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("nameless", [True, False])
def test_a_rehearsal_of_what_works_leaves_nothing_behind_and_no_time_of_a_folder(
    bot: Path, name: str, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        monkeypatch.setattr(write_trial, "_open_nameless", lambda _: None)
        (bot / write_trial._TRIAL_NAME).write_text("left by one that was killed")
    step = make_step(name, bot)
    captured = step.capture()
    before = traces(bot)
    before.pop(str(bot / write_trial._TRIAL_NAME), None)

    step.rehearse(captured)

    assert traces(bot) == before


@contextlib.contextmanager
def attribute(path: Path, letter: str) -> Iterator[None]:
    if (
        shutil.which("chattr") is None
        or subprocess.run(["chattr", f"+{letter}", str(path)], capture_output=True).returncode
    ):
        pytest.skip("this file system, or this user, sets no attributes")
    try:
        yield
    finally:
        subprocess.run(["chattr", f"-{letter}", str(path)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("what", ["config.py", "."])
@pytest.mark.parametrize("letter", ["i", "a"])
def test_what_an_attribute_protects_is_told_with_its_cure(bot: Path, name: str, what: str, letter: str) -> None:
    with attribute(bot / what, letter):
        assert f"chattr -{letter} {(bot / what).resolve()}" in rehearsed(make_step(name, bot))
        if name == "flag":
            assert f"chattr -{letter}" in drilled(bot)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "logs/HEAD",
        "logs/refs/heads/main",
        "logs/refs/heads",
        "refs/heads/main",
        "refs/trading-watchdog",
        "refs",
        "logs",
    ],
)
@pytest.mark.parametrize("branch", [None, "night/fix"])
def test_what_git_keeps_beside_the_files_is_tried(bot: Path, what: str, branch: str | None) -> None:
    if what == "refs/trading-watchdog":
        (bot / ".git" / what).mkdir()
    step = make_git_step(bot, "v1", branch)
    with attribute(bot / ".git" / what, "i"):
        if branch and what == "logs/HEAD":  # some versions of git move HEAD all the same
            with pytest.raises(ActionError, match=r"chattr -i .*logs/HEAD"):
                step.rehearse(step.capture())
            return
        said = rehearsed(step)
    unused = {"logs", *(("logs/refs/heads/main", "refs/heads/main") if branch else ("logs/refs/heads",))}
    if what in unused:
        assert said == ""
    else:
        assert f"chattr -i {(bot / '.git' / what).resolve()}" in said


@pytest.mark.slow
@pytest.mark.parametrize("branch", [None, "night/fix"])
def test_a_log_that_only_grows_and_one_that_is_not_kept_are_no_obstacle(bot: Path, branch: str | None) -> None:
    step = make_git_step(bot, "v1", branch)
    with attribute(bot / ".git" / "logs" / "HEAD", "a"):
        assert rehearsed(step) == ""

    shutil.rmtree(bot / ".git" / "logs")
    (bot / ".git" / "logs").mkdir()
    subprocess.run(["git", "config", "core.logAllRefUpdates", "false"], cwd=bot, check=True)
    step = make_git_step(bot, "v2", branch)
    with attribute(bot / ".git" / "logs", "i"):
        assert rehearsed(step) == ""


def test_a_file_with_another_hard_link_is_told(bot: Path) -> None:
    os.link(bot / "config.py", bot / "other.py")

    (finding,) = make_step("flag", bot).findings()
    assert (finding.kind, finding.key) == ("unfit", ("file",))
    assert "has other hard links" in rehearsed(make_step("flag", bot))
    assert "has other hard links" in drilled(bot)[0]


def on_mounts(play: Callable[[], None]) -> None:
    if missing := harness.mounts_unavailable():
        pytest.skip(missing)

    def run() -> None:
        harness.unshare_mounts()
        play()

    code, said = harness.run_in_fork(run)
    assert code == 0, said


@pytest.mark.parametrize("name", STEPS)
def test_a_bind_mounted_file_is_told_with_its_cure(bot: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.py").write_text("TRADING = True\n")

    def play() -> None:
        harness.mount("--bind", tmp_path / "outside.py", bot / "config.py")
        said = rehearsed(make_step(name, bot))
        assert f"mount the folder {bot} instead" in said
        if name == "flag":
            assert "mount the folder" in drilled(bot)[0]
            assert "mount the folder" in make_step(name, bot).findings()[0].cure

    on_mounts(play)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["--bind", "tmpfs"])
def test_a_folder_of_the_work_tree_that_is_a_mount_of_its_own_is_told_with_its_cure(
    bot: Path, tmp_path: Path, kind: str
) -> None:
    """Nothing is moved into it in one step, also where it lies on the same disk."""

    def play() -> None:
        git = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        (bot / "models").mkdir()
        harness.mount(*(["--bind", bot / "models"] if kind == "--bind" else ["-t", "tmpfs", "tmpfs"]), bot / "models")
        (bot / "models" / "hmm.txt").write_text("3\n")
        subprocess.run([*git, "add", "models"], cwd=bot, check=True)
        subprocess.run([*git, "commit", "-q", "-m", "v3"], cwd=bot, check=True)
        said = rehearsed(make_step("git", bot))
        assert said.startswith(f"{bot}/models/hmm.txt cannot be written: ")
        assert "is a mount of its own: mount the whole tree" in said

        captured = make_step("git", bot).capture()
        with pytest.raises(
            ActionError, match=r"/models/hmm\.txt cannot be written: .* mount of its own: .*all was put back"
        ):
            make_step("git", bot).apply(captured, "k")

    on_mounts(play)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_a_read_only_mount_is_told_with_its_cure(bot: Path, name: str) -> None:
    def play() -> None:
        harness.mount("--bind", bot, bot)
        harness.mount("-o", "remount,ro,bind", bot)
        assert "mounted read-only" in rehearsed(make_step(name, bot))
        if name == "flag":
            assert "mounted read-only" in drilled(bot)[0]

    on_mounts(play)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("options", ["size=512k", "size=8m,nr_inodes=60"])
def test_a_full_disk_is_told_with_its_cure(tmp_path: Path, name: str, options: str) -> None:
    def play() -> None:
        harness.mount("-t", "tmpfs", "-o", options, "tmpfs", tmp_path)
        bot = make_bot(tmp_path)
        with contextlib.suppress(OSError):
            if "inodes" in options:
                for number in range(100):
                    (tmp_path / f"taken{number}").touch()
            for size in (65_536, 4_096, 1):
                with contextlib.suppress(OSError), (tmp_path / "taken").open("ab", buffering=0) as file:
                    while file.write(b"x" * size):
                        pass
        assert "make room on its disk" in rehearsed(make_step(name, bot))

    on_mounts(play)


@pytest.mark.parametrize("name", ["flag", "restore"])
@pytest.mark.parametrize("how", ["no right", "sticky"])
def test_what_the_bots_user_may_not_do_is_told(name: str, how: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    folder = Path(
        subprocess.run(["mktemp", "-d", "/tmp/trial-XXXXXX"], capture_output=True, text=True, check=True).stdout.strip()
    )
    try:
        folder.chmod(0o755)
        bot = make_bot(folder)
        (bot / "config.py").chmod(0o666)
        bot.chmod(0o1777 if how == "sticky" else 0o755)

        def play() -> None:
            os.setgroups([])
            os.setresgid(12_345, 12_345, 12_345)
            os.setresuid(12_345, 12_345, 12_345)
            said = rehearsed(make_step(name, bot))
            assert ("chown" in said) or ("needs the right to" in said), said

        code, said = harness.run_in_fork(play)
        assert code == 0, said
    finally:
        shutil.rmtree(folder)


def test_a_dry_run_says_that_it_would_fail(bot: Path, tmp_path: Path) -> None:
    os.link(bot / "config.py", bot / "other.py")
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text("state: state\n")
    plan = {"kind": "halt", "levels": [{"name": "off", "steps": [FLAG], "verify": {"run": ["true"]}}]}
    (tmp_path / "rules" / "r.yaml").write_text(
        json.dumps({"targets": {"bot": {"repo": str(bot)}}, "plans": {"freeze": plan}})
    )

    from watchdog.cli.command_line import main

    assert main(["rollback", "freeze", "--dry-run", "--config", str(tmp_path)]) == 1
