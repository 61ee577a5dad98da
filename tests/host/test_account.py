"""Whose hands: nobody can have us act as somebody more powerful than its bot's owner."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.acl import set_acl
from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host import account, trust
from watchdog.host.account import UntrustedOwnerError, target_account

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

BOT, OTHER = 12_345, 12_346


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A bot's folder, with its repository in it."""
    folder = tmp_path / "bot"
    (folder / "repo").mkdir(parents=True)
    for each in (folder, folder / "repo"):
        os.chown(each, BOT, BOT)
    return folder


def make_sticky(folder: Path) -> None:
    """Not for everybody: the kernel follows no links of others in there (fs.protected_symlinks), on most machines."""
    os.chown(folder, 0, 1)
    folder.chmod(0o1775)


def replace_by_link(repo: Path, target: str) -> None:
    """What the bot's user can do at any time."""
    shutil.rmtree(repo)
    repo.symlink_to(target)
    os.chown(repo, BOT, BOT, follow_symlinks=False)


def test_the_owner_of_the_repo_acts_and_one_without_an_account_has_no_groups(home: Path) -> None:
    assert target_account(Target(repo=str(home / "repo"))) == (str(BOT), BOT, BOT, (), "/")
    os.chown(home / "repo", BOT, 0)
    assert target_account(Target(repo=str(home / "repo"))).gid == account.NOGROUP
    assert target_account(Target()).uid == 0
    assert target_account(Target(repo=str(home / "repo"), run_as="root")).uid == 0


@pytest.mark.parametrize("target", ["/etc", "../other"])
def test_a_bot_that_puts_a_link_in_its_repos_place_gets_nobody_elses_rights(home: Path, target: str) -> None:
    (home.parent / "other").mkdir()
    os.chown(home.parent / "other", OTHER, OTHER)
    replace_by_link(home / "repo", str(home / target) if target.startswith(".") else target)

    with pytest.raises(UntrustedOwnerError, match=rf"could be changed by {BOT} at {home} — say run_as"):
        target_account(Target(repo=str(home / "repo")))


def test_a_bot_whose_daemon_is_not_root_does_not_get_the_daemons_rights(home: Path) -> None:
    """Nor another's: it is the daemon's own user that it wants to be."""
    os.chown(home / "repo", OTHER, OTHER)

    with pytest.raises(UntrustedOwnerError):
        target_account(Target(repo=str(home / "repo")), OTHER)


@pytest.mark.parametrize("sticky", [False, True])
def test_a_repo_that_is_exchanged_between_two_looks_at_it_is_refused(
    home: Path, sticky: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner is read while a link to /etc stands there, and the way when a folder does: in the bot's own folder, or in
    a sticky one."""
    if sticky:
        make_sticky(home)
    real = trust.find_untrusted_way
    replace_by_link(home / "repo", "/etc")

    def put_the_repo_back(path: Path, users: tuple[int, ...]) -> object:
        assert users[1] == 0  # the race is held open: it has been taken for root's
        (home / "repo").unlink()
        (home / "repo").mkdir()
        os.chown(home / "repo", BOT, BOT)
        return real(path, users)

    monkeypatch.setattr(account, "find_untrusted_way", put_the_repo_back)

    with pytest.raises(UntrustedOwnerError, match=f"could be changed by {BOT}"):
        target_account(Target(repo=str(home / "repo")))


def test_a_repo_that_is_taken_away_between_two_looks_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = trust.find_untrusted_way
    make_sticky(home)
    replace_by_link(home / "repo", "/etc")

    def take_it_away(path: Path, users: tuple[int, ...]) -> object:
        (home / "repo").unlink()
        return real(path, users)

    monkeypatch.setattr(account, "find_untrusted_way", take_it_away)

    with pytest.raises(UntrustedOwnerError):
        target_account(Target(repo=str(home / "repo")))


def open_to_group(folder: Path) -> None:
    os.chown(folder, 0, 1)
    folder.chmod(0o775)


OPENINGS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: folder.chmod(0o777), "everybody"),
    (open_to_group, "the group daemon"),
    (lambda folder: set_acl(folder, users={OTHER: 7}), f"the user {OTHER}"),
]


@pytest.mark.parametrize(("open_up", "who"), OPENINGS, ids=["everybody", "group", "acl"])
def test_a_repo_in_a_folder_that_others_write_needs_a_run_as(
    tmp_path: Path, open_up: Callable[[Path], object], who: str
) -> None:
    shared, repo = tmp_path / "shared", tmp_path / "shared" / "repo"
    repo.mkdir(parents=True)
    os.chown(repo, BOT, BOT)
    assert target_account(Target(repo=str(repo))).uid == BOT
    open_up(shared)

    with pytest.raises(UntrustedOwnerError, match=f"could be changed by {who} at {shared} — say run_as"):
        target_account(Target(repo=str(repo)))
    assert target_account(Target(repo=str(repo), run_as="daemon")).name == "daemon"


def test_in_a_sticky_folder_and_behind_roots_own_links_a_repo_is_its_owners(tmp_path: Path) -> None:
    repo = tmp_path / "sticky" / "repo"
    repo.mkdir(parents=True)
    repo.parent.chmod(0o1777)
    os.chown(repo, BOT, BOT)
    (tmp_path / "link").symlink_to("sticky/repo")

    assert target_account(Target(repo=str(tmp_path / "link"))).uid == BOT


def test_what_others_may_write_within_the_repo_does_not_change_whose_it_is(home: Path) -> None:
    (home / "repo").chmod(0o777)

    assert target_account(Target(repo=str(home / "repo"))).uid == BOT


def test_a_repo_that_is_not_there_and_a_user_that_is_not_known_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="No such file or directory — mend the target's repo"):
        target_account(Target(repo=str(tmp_path / "none")))
    with pytest.raises(ActionError, match="there is no user nobody-here on this machine"):
        target_account(Target(run_as="nobody-here"))
