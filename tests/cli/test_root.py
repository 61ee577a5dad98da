"""What is begun by root without systemd, before it lets go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchdog.cli.root import _believed_files

BOT = 40_001


def test_a_configuration_that_is_named_from_within_its_folder_must_be_readable_from_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/watchdog.yaml").write_text("")
    monkeypatch.chdir(tmp_path)

    assert tmp_path / "config/watchdog.yaml" in _believed_files(Path("config"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_bots_files_beside_the_configuration_are_not_what_must_be_readable(tmp_path: Path) -> None:
    config, bot = tmp_path / "config", tmp_path / "config/bot"
    (bot / "private").mkdir(parents=True)
    for file in (config / "watchdog.yaml", config / "chat.token", bot / "secret", bot / "private/more"):
        file.write_text("")
    for each in (bot, bot / "private", bot / "private/more"):
        os.chown(each, BOT, BOT)

    assert {each for each in _believed_files(config) if each.is_relative_to(config)} == {
        config,
        config / "watchdog.yaml",
        config / "chat.token",
    }
