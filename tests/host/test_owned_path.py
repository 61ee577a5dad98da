"""Files that somebody else keeps: whoever decides whose folder it seems to be gets nobody else's eyes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host.owned_path import call_owner, owner_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

BOT = 12_345


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "bot"
    (folder / "logs").mkdir(parents=True)
    for each in (folder, folder / "logs"):
        os.chown(each, BOT, BOT)
    return folder


def test_a_bots_folder_is_looked_at_as_its_owner_and_roots_own_by_root_itself(home: Path, tmp_path: Path) -> None:
    assert owner_of(home / "logs", None) == Target(repo=str(home / "logs"))
    assert owner_of(tmp_path, None) == Target()
    assert owner_of(None, None) == Target()


@pytest.mark.parametrize("place", ["/root", "/var/log"])
def test_a_link_in_a_bots_folder_to_one_of_roots_is_not_followed_by_root(home: Path, place: str) -> None:
    (home / "logs").rmdir()
    (home / "logs").symlink_to(place)
    os.chown(home / "logs", BOT, BOT, follow_symlinks=False)

    with pytest.raises(ActionError, match=rf"belongs to root, and could be changed by {BOT} at {home} — say user"):
        call_owner(home / "logs", None, os.listdir)
    assert owner_of(home / "logs", str(BOT)) == Target(run_as=str(BOT))


def test_roots_folder_in_a_bots_is_the_bots_to_exchange(home: Path) -> None:
    os.chown(home / "logs", 0, 0)

    with pytest.raises(ActionError, match=f"could be changed by {BOT} at {home} — say user"):
        owner_of(home / "logs", None)


def test_no_folder_is_told_from_one_that_is_nobodys_to_trust(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        owner_of(home / "none", None)
    (home / "file").touch()
    with pytest.raises(FileNotFoundError):
        owner_of(home / "file" / "logs", None)
