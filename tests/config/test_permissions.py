"""Files that somebody else could write are refused by `run`, with the chmod or chown that cures it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.config.conftest import WriteConfig
from watchdog.config import check_files, load
from watchdog.config.permissions import find_unsafe_files
from watchdog.documents.problems import ConfigError

CURRENT_UID = os.geteuid()
needs_root = pytest.mark.skipif(CURRENT_UID != 0, reason="only root gives files away")


def refusals(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={}, uid=CURRENT_UID)
    return [str(each) for each in caught.value.problems]


def test_files_of_our_own_that_only_we_write_are_taken(write_config: WriteConfig) -> None:
    assert load(write_config({}), environ={}, uid=CURRENT_UID).rules


@pytest.mark.parametrize("name", ["watchdog.yaml", "rules/base.yaml"])
def test_a_file_that_everybody_may_write_is_refused_with_the_cure(name: str, write_config: WriteConfig) -> None:
    path = write_config({}) / name
    path.chmod(0o646)

    assert refusals(path.parents[name.count("/")]) == [f"{path}:1:1: everybody may write the file — chmod go-w {path}"]
    path.chmod(0o644)
    assert load(path.parents[name.count("/")], environ={}, uid=CURRENT_UID).rules


@pytest.mark.parametrize("name", [".", "rules"])
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_folder_that_everybody_may_write_is_refused(name: str, mode: int, write_config: WriteConfig) -> None:
    folder = write_config({})
    (folder / name).chmod(mode)

    assert refusals(folder) == [f"{folder / name}:1:1: everybody may write the folder — chmod go-w {folder / name}"]


def test_rules_that_do_not_exist_yet_are_guarded_by_their_folder(write_config: WriteConfig) -> None:
    folder = write_config({})
    (folder / "rules" / "base.yaml").unlink()
    (folder / "rules").chmod(0o777)

    assert "everybody may write the folder" in refusals(folder)[0]


def test_a_folder_further_up_must_not_be_open_unless_it_is_sticky(tmp_path: Path) -> None:
    path = tmp_path / "open" / "etc" / "watchdog.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("")
    path.parents[1].chmod(0o1777)
    assert find_unsafe_files([path], CURRENT_UID) == []
    path.parents[1].chmod(0o777)
    (problem,) = find_unsafe_files([path], CURRENT_UID)

    assert problem.file == str(path.parents[1])


def test_what_a_link_leads_to_is_looked_at_too(
    write_config: WriteConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = write_config({})
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    real = elsewhere / "far" / "real.yaml"
    real.parent.mkdir()
    real.write_text("kpis: {x: {expr: x}}\n")
    (elsewhere / "hop.yaml").symlink_to("far/real.yaml")
    (folder / "rules" / "linked.yaml").symlink_to(elsewhere / "hop.yaml")
    assert load(folder, environ={}, uid=CURRENT_UID).kpis["x"].expr == "x"
    elsewhere.chmod(0o777)
    real.chmod(0o666)

    assert refusals(folder) == [
        f"{elsewhere}:1:1: everybody may write the folder — chmod go-w {elsewhere}",
        f"{real}:1:1: everybody may write the file — chmod go-w {real}",
    ]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert find_unsafe_files([tmp_path / "a"], CURRENT_UID) == []


@needs_root
def test_a_group_with_others_in_it_may_not_write_and_a_users_own_may(write_config: WriteConfig) -> None:
    folder = write_config({})
    path = folder / "rules" / "base.yaml"
    path.chmod(0o664)
    assert load(folder, environ={}, uid=CURRENT_UID).rules  # root's own group
    os.chown(path, 0, 1)

    assert refusals(folder)[0].endswith(f"may write the file — chmod g-w {path}")


@needs_root
def test_a_file_of_somebody_else_is_refused_even_if_only_its_owner_may_write(write_config: WriteConfig) -> None:
    folder = write_config({})
    path = folder / "watchdog.yaml"
    os.chown(path, 12_345, 0)

    assert refusals(folder) == [
        f"{path}:1:1: the file belongs to 12345, who could change what the watchdog does — chown root {path}"
    ]
    with pytest.raises(ConfigError):  # root's files are everybody's, others' are nobody's
        load(folder, environ={}, uid=54_321)
    os.chown(path, 0, 0)
    os.chown(folder / "rules", 12_345, 0)
    assert "the folder belongs to 12345" in refusals(folder)[0]


@needs_root
def test_a_daemon_that_is_not_root_takes_its_own_files_and_roots(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.yaml"
    path.write_text("")
    os.chown(path, 12_345, 0)

    assert find_unsafe_files([path], 12_345) == []
    assert len(find_unsafe_files([path], 54_321)) == 1


def test_check_says_what_run_will_refuse_and_passes(write_config: WriteConfig) -> None:
    folder = write_config({})
    assert check_files([folder], environ={})[0].warnings == ()  # type: ignore[union-attr]
    (folder / "rules" / "base.yaml").chmod(0o666)
    config, problems = check_files([folder], environ={})

    assert problems == []
    assert config is not None
    assert [each.what for each in config.warnings] == ["run will refuse this: everybody may write the file"]


def test_names_with_spaces_are_quoted_in_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "my rules.yaml"
    path.write_text("")
    path.chmod(0o666)

    assert find_unsafe_files([path], CURRENT_UID)[0].cure == f"chmod go-w '{path}'"
