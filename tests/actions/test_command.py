from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.actions.helpers import action, through_journal
from watchdog.model import Action, ActionError, Target


def sh(script: str, check: str | None = None, repo: Path | None = None, **more: Any) -> Action:
    fields = {"do": "command", "run": ["sh", "-c", script], **more}
    if check is not None:
        fields["check"] = ["sh", "-c", check]
    return action(**fields).at(Target(repo=str(repo) if repo else None))


def test_a_check_tells_before_from_after(tmp_path: Path) -> None:
    step = sh("touch done", "test -e done", tmp_path)
    before = through_journal(step.before())
    assert step.state(before) == "before"
    step.apply(before, "k")

    assert step.state(before) == "after"


def test_without_a_check_nobody_can_tell(tmp_path: Path) -> None:
    step = sh("touch done", repo=tmp_path)
    before = step.before()
    assert step.state(before) == "unknown"
    step.apply(before, "k")
    assert step.state(before) == "unknown"


@pytest.mark.parametrize("check", ["exit 2", "kill -9 $$", "sleep 300"])
def test_a_check_that_fails_otherwise_cannot_tell(tmp_path: Path, check: str) -> None:
    step = sh("true", check, tmp_path, timeout=200)
    assert step.state({}) == "unknown"


def test_a_command_that_fails_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"ended with 3: no such \| thing") as caught:
        sh("echo many; echo no such >&2; echo thing >&2; exit 3").apply({}, "k")

    assert not caught.value.may_have_happened


def test_a_command_that_ended_well_and_changed_nothing_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="ended well, yet its check ended with 1"):
        sh("true", "exit 1").apply({}, "k")


def test_a_command_gets_the_key_of_its_step_and_its_environment(tmp_path: Path) -> None:
    said = sh("echo $WATCHDOG_STEP_KEY $MORE", env={"MORE": "m"}).apply({}, "run 7 level 0.1")

    assert said.endswith("ended well: run 7 level 0.1 m")


def test_the_folder_is_the_targets_repo_or_one_below_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert sh("pwd", repo=tmp_path).apply({}, "k").endswith(f": {tmp_path}")
    assert sh("pwd", repo=tmp_path, cwd="sub").apply({}, "k").endswith(f": {tmp_path}/sub")
    assert sh("pwd", repo=tmp_path, cwd="/").apply({}, "k").endswith(": /")
    with pytest.raises(ActionError, match="give the target a repo"):
        sh("pwd", cwd="sub")


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    step = action(do="command", run=[sys.executable, "-c", "import sys; print(sys.argv[1])", "$(id); *"])
    assert step.apply({}, "k").endswith(": $(id); *")


def test_a_command_over_its_time_may_have_happened(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="not done after") as caught:
        sh("sleep 300", timeout=200).apply({}, "k")

    assert caught.value.may_have_happened


@pytest.mark.parametrize("fields", [{}, {"run": []}, {"run": "echo x"}, {"run": ["x"], "check": []}])
def test_a_step_without_a_program_is_refused_at_load(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        action(do="command", **fields)


def test_the_incident_is_told_as_json_and_never_as_words_of_the_command(tmp_path: Path) -> None:
    step = sh('cat >told; echo "$#" "$@"', repo=tmp_path)
    incident = {"id": 7, "trips": [{"rule": "drawdown", "labels": {"pair": "$(touch pwned)`id`\n'; rm -rf /"}}]}
    said = step.apply(step.before(), "k", incident)

    assert json.loads((tmp_path / "told").read_text()) == incident
    assert said.endswith("ended well: 0")
    assert not (tmp_path / "pwned").exists()


def test_without_an_incident_it_is_told_null(tmp_path: Path) -> None:
    step = sh("cat >told", repo=tmp_path)
    step.apply(step.before(), "k")

    assert (tmp_path / "told").read_text() == "null\n"


def test_a_program_that_does_not_listen_is_no_trouble() -> None:
    sh("exec true").apply({}, "k", {"long": "x" * 1_000_000})


def test_the_environment_is_clean_but_for_what_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "secret")
    monkeypatch.setenv("EXCHANGE", "kraken")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    step = sh("env >seen", repo=tmp_path, env={"MODE": "safe"}, inherit=["EXCHANGE"])
    step.apply(step.before(), "run 1 level 0.0")
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())

    assert (seen["EXCHANGE"], seen["MODE"], seen["WATCHDOG_STEP_KEY"]) == ("kraken", "safe", "run 1 level 0.0")
    assert seen["PATH"] == os.environ["PATH"]
    assert not seen.keys() & {"SLACK_BOT_TOKEN", "NOTIFY_SOCKET"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run as others")
def test_root_runs_it_as_the_named_user_and_so_its_check(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    step = sh('id -un; id -gn; echo "$HOME" >home', '[ "$(id -un)" = nobody ]', tmp_path, user="nobody", group="mail")
    assert step.state(step.before()) == "after"
    step.apply({}, "k")

    assert (tmp_path / "home").read_text().strip() == pwd.getpwnam("nobody").pw_dir
    assert (tmp_path / "home").owner() == "nobody"
    assert (tmp_path / "home").group() == "mail"
    assert step.say().endswith(" as nobody")


@pytest.mark.parametrize("who", [{"user": "no-such-user"}, {"group": "no-such-group"}])
def test_a_user_that_is_not_there_is_said_before_anything_is_done(who: dict[str, Any]) -> None:
    with pytest.raises(ActionError, match=r"there is no (user|group) no-such"):
        sh("true", **who).before()


def test_only_root_may_be_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ActionError, match="only root may"):
        sh("true", user="root").before()
