"""Files that somebody else could write are refused by `run`, with the chmod or chown that cures it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.conftest import WriteConfig
from tests.support.acl import set_acl
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


def test_a_named_user_in_an_acl_is_somebody_else_and_a_mask_takes_the_right_away(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.yaml"
    path.write_text("")
    set_acl(path, users={12_345: 6}, mask=4)
    assert path.stat().st_mode & 0o060 == 0o040
    assert find_unsafe_files([path], CURRENT_UID) == []
    set_acl(path, users={CURRENT_UID: 7})  # g+w of the mode is the mask, and nobody's right but ours
    assert path.stat().st_mode & 0o020
    assert find_unsafe_files([path], CURRENT_UID) == []
    set_acl(path, users={12_345: 6})
    (problem,) = find_unsafe_files([path], CURRENT_UID)

    assert problem[3:] == ("the user 12345 may write the file by its ACL", f"setfacl -b {path}")
    set_acl(path, groups={1: 6})
    assert find_unsafe_files([path], CURRENT_UID)[0].what == "the group daemon may write the file by its ACL"


# ─ what the files name ─

BOT = 12_345
PLAN = """\
targets:
  bot: {{repo: {repo}}}
kpis: {{errors: {{expr: errors}}}}
rules:
  - {{name: errors, kpi: errors, target: bot, crit: {{above: 3, plan: halt}}}}
plans:
  halt:
    kind: halt
    verify: {{{verify}}}
    levels:
      - name: stop
        steps:
          - {step}
"""


@pytest.fixture
def bot_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the bot's user, with a program of its own in it."""
    repo = tmp_path_factory.mktemp("srv") / "repo"
    (repo / "scripts").mkdir(parents=True)
    for name in ("stop.sh", "stop.py"):
        (repo / "scripts" / name).write_text("#!/bin/sh\n")
    (repo / "scripts" / "stop.sh").chmod(0o755)
    for each in (repo, *repo.rglob("*")):
        os.chown(each, BOT, BOT)
    return repo


WritePlan = Callable[..., Path]


@pytest.fixture
def write_plan(write_config: WriteConfig, bot_repo: Path) -> WritePlan:
    def write(step: str, verify: str = "that: [up == 0]") -> Path:
        return write_config({"rules/base.yaml": PLAN.format(repo=bot_repo, step=step, verify=verify)})

    return write


COMMANDS = [
    ("{{do: command, run: [./scripts/stop.sh]}}", "./scripts/stop.sh"),
    ("{{do: command, run: ['true'], check: [{repo}/scripts/stop.sh]}}", "{repo}/scripts/stop.sh"),
    ("{{do: command, run: [python3, -I, scripts/stop.py, -x]}}", "python3"),
    ("{{do: command, run: [timeout, '30', ./scripts/stop.sh]}}", "timeout"),
    ("{{do: command, run: [env, A=b, sh, stop.py], cwd: scripts}}", "env"),
    ("{{do: process, start: process, place: {{pid_file: p, command: [scripts/stop.sh]}}}}", "scripts/stop.sh"),
]


@needs_root
@pytest.mark.parametrize(("step", "shown"), COMMANDS)
def test_a_program_that_only_its_own_user_can_change_is_run_and_one_that_others_can_is_refused(
    step: str, shown: str, write_plan: WritePlan, bot_repo: Path
) -> None:
    folder = write_plan(step.format(repo=bot_repo))
    assert load(folder, environ={}, uid=CURRENT_UID).plans
    (bot_repo / "scripts").chmod(0o777)

    (refusal,) = refusals(folder)
    place, _, text = refusal.partition(": ")
    assert place.startswith(f"{folder}/rules/base.yaml:13:")
    shown = shown.format(repo=bot_repo)
    assert text.endswith(
        f"is run, and everybody may write the folder {bot_repo}/scripts — chmod go-w {bot_repo}/scripts"
    )
    assert text.startswith(shown[:50])
    checked, problems = check_files([folder], environ={})
    assert problems == []
    assert checked is not None
    assert [each.what for each in checked.warnings] == [f"run will refuse this: {text.partition(' — ')[0]}"]


@needs_root
def test_a_program_of_a_third_user_is_refused_wherever_a_link_leads(write_plan: WritePlan, bot_repo: Path) -> None:
    folder = write_plan("{do: command, run: [./stop]}")
    (bot_repo / "stop").symlink_to("scripts/stop.sh")
    os.chown(bot_repo / "stop", BOT, BOT, follow_symlinks=False)
    os.chown(bot_repo / "scripts" / "stop.sh", BOT + 1, BOT)

    assert f"the file {bot_repo}/scripts/stop.sh belongs to {BOT + 1}, who could change" in refusals(folder)[0]


@needs_root
def test_verifys_program_is_guarded_too_and_one_that_is_not_there_is_nobodys(
    write_plan: WritePlan, bot_repo: Path
) -> None:
    folder = write_plan("{do: command, run: ['true']}", "run: [sh, scripts/stop.py]")
    (bot_repo / "scripts" / "stop.py").chmod(0o666)
    (refusal,) = refusals(folder)
    assert f"/base.yaml:9:{len('    verify: {run: ') + 1}: sh is run, and everybody may write the file" in refusal

    shutil.rmtree(bot_repo / "scripts")
    assert load(folder, environ={}, uid=CURRENT_UID).plans


@needs_root
@pytest.mark.parametrize(
    ("said", "users"),
    [
        ("cwd: {repo}", ()),
        ("cwd: {repo}, user: nobody", ("bot",)),
        ("cwd: {repo}, user: root", ("bot",)),
        ("", ("bot",)),
    ],
)
def test_a_program_of_a_source_is_guarded_as_one_of_a_plan_is(
    said: str, users: tuple[str, ...], write_config: WriteConfig, bot_repo: Path
) -> None:
    """Whom it runs as may write it, and nobody else."""
    entry = (
        f"  probe: {{type: command, run: [{bot_repo}/scripts/stop.sh], format: nagios, {said.format(repo=bot_repo)}}}"
    )
    folder = write_config({"watchdog.yaml": f"sources:\n{entry}\n"})
    if not users:
        assert load(folder, environ={}, uid=CURRENT_UID).sources
        (bot_repo / "scripts").chmod(0o777)

    told = refusals(folder)
    assert all(each.startswith(f"{folder}/watchdog.yaml:2:{entry.index('[') + 1}: ") for each in told)
    assert all(f"{bot_repo}/scripts/stop.sh is run, and "[:50] in each for each in told)
    expected = f"belongs to {BOT}, who could change" if users else f"everybody may write the folder {bot_repo}/scripts"
    assert any(expected in each for each in told)


@needs_root
def test_a_folder_of_path_that_others_write_ahead_of_the_programs_own_is_refused(
    write_plan: WritePlan, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ahead = write_plan("{do: command, run: [sleep, '1']}"), tmp_path_factory.mktemp("ahead")
    monkeypatch.setenv("PATH", f"/usr/bin:/bin:{ahead}")
    ahead.chmod(0o777)
    assert load(folder, environ={}, uid=CURRENT_UID).plans
    monkeypatch.setenv("PATH", f"{ahead}:/usr/bin:/bin")

    assert f"sleep is run, and everybody may write the folder {ahead}" in refusals(folder)[0]


@needs_root
def test_an_argument_that_is_data_is_nobodys_program(write_plan: WritePlan, bot_repo: Path) -> None:
    (bot_repo / "data.csv").write_text("")
    (bot_repo / "data.csv").chmod(0o666)
    folder = write_plan("{do: command, run: [cat, data.csv, /tmp, '--x=/tmp/y', 'a\\0b', -]}".replace("\\0", " "))

    assert load(folder, environ={}, uid=CURRENT_UID).plans


@needs_root
def test_a_secret_that_the_bot_could_exchange_is_refused_where_it_is_named(
    write_plan: WritePlan, bot_repo: Path
) -> None:
    """It need not be there yet: who owns the folder puts there what is sent away."""
    step = f"{{do: http, url: 'http://127.0.0.1:1/stop', token_file: {bot_repo}/api.token}}"
    folder = write_plan(step)

    (refusal,) = refusals(folder)
    assert f"/base.yaml:13:{len('          - ') + step.index(str(bot_repo)) + 1}: token_file is read, and" in refusal
    assert f"the folder {bot_repo} belongs to {BOT}" in refusal
    (folder / "watchdog.yaml").write_text(
        f"channels: {{chat: {{type: slack, token_file: {bot_repo}/slack, channel: C0123456}}}}\n"
    )
    assert sum("token_file is read" in each for each in refusals(folder)) == 2


@needs_root
def test_a_target_whose_repo_somebody_could_exchange_is_refused_at_the_start(
    write_plan: WritePlan, bot_repo: Path
) -> None:
    folder = write_plan("{do: command, run: ['true']}")
    bot_repo.parent.chmod(0o777)
    try:
        (refusal,) = refusals(folder)
    finally:
        bot_repo.parent.chmod(0o700)

    assert (
        f"/base.yaml:2:{len('  bot: {repo: ') + 1}: {bot_repo} belongs to {BOT}, and could be changed by everybody"
        in refusal
    )
    assert refusal.endswith("— say run_as in the target")


@pytest.mark.parametrize("step", ["{do: command, run: ['true'], inherit: [KEY]}"])
def test_a_variable_to_inherit_that_is_not_set_is_refused_by_name(step: str, write_plan: WritePlan) -> None:
    folder = write_plan(step)
    (refusal,) = refusals(folder)

    assert refusal.endswith("the environment has no KEY — set it for the service, or take it off inherit")
    assert load(folder, environ={"KEY": "s3cret"}, uid=CURRENT_UID).plans
    with pytest.raises(ConfigError, match="this names no variable: write NAME"):
        load(write_plan("{do: command, run: ['true'], inherit: ['$KEY']}"), environ={}, uid=CURRENT_UID)


def test_a_variable_that_a_source_shall_inherit_and_that_is_not_set_is_refused_by_name(
    write_config: WriteConfig,
) -> None:
    entry = "probe: {type: command, run: ['true'], format: nagios, inherit: [KEY]}"
    folder = write_config({"watchdog.yaml": f"sources: {{{entry}}}\n"})
    (refusal,) = refusals(folder)

    assert refusal.endswith("the environment has no KEY — set it for the service, or take it off inherit")
    assert load(folder, environ={"KEY": "s3cret"}, uid=CURRENT_UID).sources
